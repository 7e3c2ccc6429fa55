"""dvc.yaml against the code: a stage that a changed file or parameter does not re-run is a wrong result."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from robustness_study import losses
from robustness_study.core import params
from robustness_study.core.imports import ROOT, project_imports

PIPELINE = params.read(ROOT / "dvc.yaml")
STAGES: dict[str, dict[str, Any]] = PIPELINE["stages"]
PARAMS = params.read(ROOT / "params.yaml")
LOSS_FILES = "robustness_study/losses"  # as a whole: what `check` depends on
ONE_LOSS = "robustness_study/losses/${item.loss}.py"  # imported by its name, so no import statement shows it
CORRUPTION_FILES = "robustness_study/corruptions"  # as a whole: `suite` finds one by its name
NAMES = {  # what stands in a stage's source, and what stands for it in dvc.yaml
    "recipe_name": ["${recipe}"],
    "cell.key": ["${key}"],
    "cell.loss": ["${item.loss}"],
    "cell.train_set": ["${item.train_set}"],
    "cell.seed": ["${item.seed}"],
    "split": ["${item.split}"],
    "raw": ["train", "test"],
}


def paths(stage: dict[str, Any], *kinds: str) -> dict[str, dict[str, Any]]:
    """What a stage writes under these headings: path → its settings in dvc.yaml."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    return {path: settings or {} for entry in entries for path, settings in as_mapping(entry).items()}


def as_mapping(entry: str | dict[str, Any]) -> dict[str, Any]:
    return {entry: None} if isinstance(entry, str) else entry


# --- code --------------------------------------------------------------------------------------------------


def test_every_stage_is_one_file_and_every_file_one_stage() -> None:
    assert sorted(STAGES) == sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
    for name, stage in STAGES.items():
        assert stage["cmd"].split()[:3] == ["python", "-m", f"stages.{name}"]


@pytest.mark.parametrize("name", STAGES)
def test_code_that_a_stage_depends_on_is_what_it_imports(name: str) -> None:
    depended = [dep for dep in STAGES[name]["deps"] if dep.startswith("stages/")]
    assert len(depended) == len(set(depended))
    found = project_imports(ROOT / "stages" / f"{name}.py")
    if CORRUPTION_FILES in depended:
        depended.remove(CORRUPTION_FILES)
        for path in (ROOT / CORRUPTION_FILES).glob("*.py"):
            found |= project_imports(path) if path.stem != "__main__" else set()  # the command for other people
        found = {path for path in found if not path.startswith(f"{CORRUPTION_FILES}/")}
    by_losses = {path for loss in losses.names() for path in project_imports(ROOT / f"{LOSS_FILES}/{loss}.py")}
    by_losses = {path for path in by_losses if not path.startswith(f"{LOSS_FILES}/")}
    if LOSS_FILES in depended:
        depended.remove(LOSS_FILES)
        builds_models = "robustness_study/model_files.py" in found  # and so imports what any loss does
        found = {path for path in found if not path.startswith(f"{LOSS_FILES}/")}
        found |= by_losses if builds_models else set()
    elif f"{LOSS_FILES}/__init__.py" in found:
        found |= {ONE_LOSS} | by_losses
    assert set(depended) == found


@pytest.mark.parametrize("name", [name for name in STAGES if ONE_LOSS in STAGES[name]["deps"]])
@pytest.mark.parametrize("loss", losses.names())
def test_code_that_a_loss_imports_is_among_the_deps(name: str, loss: str) -> None:
    own = f"{LOSS_FILES}/{loss}.py"
    assert project_imports(ROOT / own) - {own} <= set(STAGES[name]["deps"])


def test_stages_of_a_single_model_depend_on_its_loss_alone() -> None:
    assert [name for name, stage in STAGES.items() if LOSS_FILES in stage["deps"]] == ["check", "transfer"]


@pytest.mark.parametrize("name", STAGES)
def test_stage_says_what_it_is_and_waits_for_the_check(name: str) -> None:
    stage = STAGES[name]
    assert isinstance(stage["desc"], str) and stage["desc"].strip()
    assert ("data/checked.txt" in stage["deps"]) == (name != "check")
    assert ("data/checked.txt" in paths(stage, "outs")) == (name == "check")


def of_test_images(deps: list[str]) -> list[str]:
    """Those of a stage's deps that hold test images, or what a stage made that saw some."""
    makers = [STAGES[name] for name in ("download", "corrupt", "augmix")]
    made = {path.replace("${item.split}", "test") for stage in makers for path in paths(stage, "outs")}
    of_test = {path for path in made if path.endswith("/test.npz")}
    folders = {"data", "reports", *(path.rpartition("/")[0] for path in of_test)}
    # All of reports/ saw test images; of data/, what is named after no split.
    derived = ("data/suite", "data/evaluated", "data/attacked", "data/embedded", "reports/")
    return [dep for dep in deps if dep in of_test | folders or dep.startswith(derived)]


def test_training_sees_no_test_image() -> None:
    assert of_test_images(STAGES["train"]["deps"]) == []


@pytest.mark.parametrize(
    "planted",
    [
        "data/raw/test.npz", "data/corrupted/test.npz", "data/suite/fog.npz", "data/suite", "data/raw", "data",
        "data/evaluated/angular-clean-0.npz", "data/attacked", "reports/cells", "reports/metrics.json",
    ],
)  # fmt: skip
def test_a_test_file_among_the_deps_of_training_is_found(planted: str) -> None:
    assert of_test_images([*STAGES["train"]["deps"], planted]) == [planted]


# --- params ------------------------------------------------------------------------------------------------


def written(node: ast.expr, names: dict[str, list[str]]) -> list[str]:
    """The texts that an argument can be, as dvc.yaml writes them; `names` are what expressions in it can be."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.FormattedValue(value=inner):
            return written(inner, names)
        case ast.JoinedStr(values=parts):
            return ["".join(choice) for choice in product(*(written(part, names) for part in parts))]
        case _ if ast.unparse(node) in names:
            return names[ast.unparse(node)]
    raise AssertionError(f"line {node.lineno}: {ast.unparse(node)} cannot be read off the source")


def loops_over_constants(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Each name that a loop or comprehension takes from a literal of strings, with those strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
            values = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List) else []
            texts = [value.value for value in values if isinstance(value, ast.Constant)]
            if texts and all(isinstance(text, str) for text in texts):
                yield node.target.id, [str(text) for text in texts]


def calls_of_params(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            module = node.func.value
            if isinstance(module, ast.Name) and module.id == "params":
                yield node.func.attr, node


def sections_read(source: str) -> set[str]:
    """The sections that a stage's source asks `params` for."""
    tree = ast.parse(source)
    names = NAMES | dict(loops_over_constants(tree))
    place = {"section": 0, "lookup": 1}
    return {
        name
        for function, call in calls_of_params(tree)
        if function in place
        for name in written(call.args[place[function]], names)
    }


def test_sections_are_read_off_a_source() -> None:
    source = (
        'params.section("a", A)\nparams.lookup(values, "b")\nparams.section(f"recipes.{recipe_name}", R)\n'
        'x = [params.lookup(values, name) for name in ("c", "d")]\nfiles.section("e")\n'
    )
    assert sections_read(source) == {"a", "b", "recipes.${recipe}", "c", "d"}
    with pytest.raises(AssertionError, match="line 1: chosen cannot be read off the source"):
        sections_read("params.section(chosen, A)")


@pytest.mark.parametrize("name", [name for name in STAGES if name != "check"])
def test_params_that_a_stage_depends_on_are_those_it_reads(name: str) -> None:
    depended = STAGES[name].get("params", [])
    assert len(depended) == len(set(depended))
    assert set(depended) == sections_read((ROOT / "stages" / f"{name}.py").read_text(encoding="utf-8"))


def test_check_depends_on_all_params() -> None:
    assert STAGES["check"]["params"] == [{"params.yaml": None}]


def test_only_stages_read_params() -> None:
    shared = [path for path in (ROOT / "robustness_study").rglob("*.py") if path.name != "params.py"]
    readers = [path for path in shared if list(calls_of_params(ast.parse(path.read_text(encoding="utf-8"))))]
    assert shared and readers == []


@pytest.mark.parametrize("name", [name for name in STAGES if name in PARAMS])
def test_section_of_a_stage_has_a_schema_of_its_own(name: str) -> None:
    schema = f"robustness_study/schema/{name}.py"
    assert (ROOT / schema).is_file() and schema in STAGES[name]["deps"]
    assert name in STAGES[name]["params"]


@pytest.mark.parametrize("section", PARAMS)
def test_every_section_steers_a_stage(section: str) -> None:
    depended = {name.split(".")[0] for stage in STAGES if stage != "check" for name in STAGES[stage].get("params", [])}
    templates = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert section in depended or f"${{{section}}}" in templates


def test_every_loss_has_a_file_and_settings() -> None:
    assert sorted(PARAMS["loss_config"]) == losses.names()
    assert set(PARAMS["losses"]) <= set(losses.names())


# --- data --------------------------------------------------------------------------------------------------


def files_read(source: str, key: str = "${key}", of_all_models: bool = False) -> set[str]:
    """The files under data/ and models/ that a stage's source reads, of the model `key` or of all models."""
    found, names = set(), NAMES | {"cell.key": [key]}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            match ast.unparse(node.func):
                case "read_npz" if ast.unparse(node.args[0]) == "f'data/suite/{name}.npz'":
                    found.add("reports/suite")  # what stands for it, see stages/suite.py
                case _ if of_all_models and ast.unparse(node).startswith(("read_npz(f'data/attacked/", "model_files.")):
                    found.add("reports/attacked/${seeds[0]}")  # what stands for all of them, see stages/attack.py
                case "read_npz" | "read_json":
                    found.update(written(node.args[0], names))
                case "model_files.load":
                    assert ast.unparse(node.args[0]) == "cell.model"
                    found.add("models/${key}")
    return found


OF_DATA = ["split", "corrupt", "augmix", "suite", "contact_sheet", "train", "evaluate", "attack", "stress", "embed"]
OF_DATA += ["transfer", "stability"]


@pytest.mark.parametrize("name", OF_DATA)
def test_data_that_a_stage_depends_on_is_what_it_reads(name: str) -> None:
    depended = {dep for dep in STAGES[name]["deps"] if not dep.startswith("stages/")}
    key = "${losses[0]}-${train_sets[0]}-${seeds[0]}" if name == "stability" else "${key}"
    if name in ("transfer", "stability"):
        assert STAGES[name]["cmd"].endswith(" --seed ${seeds[0]}")
    source = (ROOT / f"stages/{name}.py").read_text(encoding="utf-8")
    assert depended - {"data/checked.txt"} == files_read(source, key, of_all_models=name == "transfer")


# --- outputs -----------------------------------------------------------------------------------------------


def test_metrics_are_the_headline_and_the_comparison() -> None:
    metrics = {path: settings for stage in STAGES.values() for path, settings in paths(stage, "metrics").items()}
    assert metrics == {"reports/metrics.json": {"cache": False}, "reports/comparison.json": {"cache": False}}


@pytest.mark.parametrize("name", STAGES)
def test_results_of_cells_are_in_git_and_not_in_the_cache(name: str) -> None:
    stage = STAGES[name]
    assert not [path for path in paths(stage, "outs") if path.startswith("reports/cells")]
    results = paths(stage, "plots", "metrics")
    assert all(settings.get("cache") is False for path, settings in results.items() if path.startswith("reports/"))


def test_results_in_git_keep_no_stage_out_of_the_run_cache() -> None:
    """DVC keeps no run of a stage with uncached outs; `download` is meant to have none, and `compare` is quick."""
    uncached = {
        name
        for name, stage in STAGES.items()
        if any(how.get("cache") is False for how in paths(stage, "outs").values())
    }
    assert uncached == {"download", "compare"}


@pytest.mark.parametrize("name", ["compare", "headline"])
def test_comparison_runs_on_a_fresh_clone(name: str) -> None:
    """What `compare` and `headline` read is in git, but for the check's marker, which is made anew."""
    data = [dep for dep in STAGES[name]["deps"] if not dep.startswith("stages/")]
    kinds = ("outs", "plots")
    in_git = {
        path for stage in STAGES.values() for path, how in paths(stage, *kinds).items() if how.get("cache") is False
    }
    assert data[0] == "data/checked.txt" and data[1].startswith("reports/cells")
    assert set(data[2:]) <= in_git
