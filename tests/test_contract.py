"""dvc.yaml and the packages against the code. If a changed file does not re-run a stage, results are wrong."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from robustness_study import datasets, losses, stage_code, training_sets
from robustness_study.core import params
from robustness_study.core.imports import ROOT, digest_lines, project_imports
from robustness_study.core.locks import ONE_OUTPUT
from robustness_study.report.pictures import PICTURES

PIPELINE = params.read(ROOT / "dvc.yaml")
STAGES: dict[str, dict[str, Any]] = PIPELINE["stages"]
PARAMS = params.read(ROOT / "params.yaml")
MOST_LINES_OF_A_STAGE = 75
LARGEST_CORE_OF_TRAINING = 20
# Where dvc.yaml names the file of the one idea that a stage of a model runs.
ONE = {
    losses: "robustness_study/losses/${item.loss}.py",
    training_sets: "robustness_study/training_sets/${item.train_set}.py",
    datasets: "robustness_study/datasets/${download.dataset}.py",
}
NAMES = {  # an expression in a stage's source, and its form in dvc.yaml
    "recipe_name": ["${recipe}"],
    "cell.key": ["${key}"],
    "cell.loss": ["${item.loss}"],
    "cell.train_set": ["${item.train_set}"],
    "cell.seed": ["${item.seed}"],
    "name": ["${item.train_set}"],  # of a training set
    "split": ["${item.split}"],
    "raw": ["train", "test"],
}


def paths(stage: dict[str, Any], *kinds: str) -> dict[str, dict[str, Any]]:
    """The entries of a stage under these headings: path → its settings in dvc.yaml."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    return {path: settings or {} for entry in entries for path, settings in as_mapping(entry).items()}


def as_mapping(entry: str | dict[str, Any]) -> dict[str, Any]:
    return {entry: None} if isinstance(entry, str) else entry


# --- code --------------------------------------------------------------------------------------------------


def test_dvc_lock_has_no_stage_that_dvc_yaml_no_longer_has() -> None:
    """DVC never deletes such an entry, and it reads and writes the whole file again after every stage."""
    locked = YAML(typ="safe").load(ROOT / "dvc.lock")["stages"]
    wanted = {(name, "matrix" in stage) for name, stage in STAGES.items()}
    found = {(name.partition("@")[0], "@" in name) for name in locked}
    assert found <= wanted, found - wanted


def test_every_stage_is_one_file_and_every_file_one_stage() -> None:
    assert sorted(STAGES) == sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
    for name, stage in STAGES.items():
        assert stage["cmd"].split()[:3] == ["python", "-m", f"stages.{name}"]


AFTER_CHECK = [name for name in STAGES if name != "check"]


@pytest.mark.parametrize("name", AFTER_CHECK)
def test_a_stage_depends_on_its_code(name: str) -> None:
    """By the file that `check` writes, and by the files of the ideas that dvc.yaml names."""
    named = {ONE[kind] for kind in stage_code.ONE_IDEA.get(name, ())}
    depended = [dep for dep in STAGES[name]["deps"] if dep.startswith(("stages", "robustness_study", "data/code"))]
    assert sorted(depended) == sorted({f"data/code/{name}.txt"} | named)


def test_check_records_the_code_of_every_other_stage_and_depends_on_all_code() -> None:
    made = {path for path in paths(STAGES["check"], "outs") if path.startswith("data/code/")}
    assert made == {f"data/code/{name}.txt" for name in AFTER_CHECK}
    assert sorted(stage_code.names()) == sorted(STAGES)
    assert sorted(STAGES["check"]["deps"]) == ["robustness_study", "stages"]


RUN_BY = {  # a file → the stages that a change to it re-runs
    "stages/suite.py": {"suite"},
    "stages/__init__.py": set(AFTER_CHECK),
    "robustness_study/core/files.py": set(AFTER_CHECK),
    "robustness_study/training/optimiser.py": {"train", "check_sizes"},
    "robustness_study/losses/head.py": {"train", "check_sizes", "evaluate", "attack", "stress", "transfer"},
    "robustness_study/losses/angular.py": {"check_sizes", "transfer"},  # and by name, where dvc.yaml has ${item.loss}
    "robustness_study/networks/resnet18.py": set(),  # its digest is in data/network.json
    "robustness_study/networks/_convolution.py": set(),
    "robustness_study/training_sets/augmix.py": {"compare", "report", "headline"},
    "robustness_study/training_sets/_chains.py": {"training_set", "compare", "report", "headline"},
    "robustness_study/datasets/_tar.py": {"download"},
    "robustness_study/natural/cifar10_1.py": {"natural"},
    "robustness_study/corruptions/weather.py": {"corrupt", "suite", "compare", "report", "headline"},
    "robustness_study/attacks/square.py": {"attack"},
    "robustness_study/attacks/signs.py": {"attack", "transfer"},
    "robustness_study/evaluation/neighbours.py": {"evaluate", "attack"},
    "robustness_study/webpage/assets/charts.js": {"report"},
    "robustness_study/planes/umap_plane.py": {"embed", "stability", "check_sizes"},
    "robustness_study/schema/embed.py": {"embed", "stability", "check_sizes"},
}


@pytest.mark.parametrize("path", RUN_BY)
def test_a_change_to_a_file_re_runs_the_stages_that_run_it(path: str) -> None:
    assert (ROOT / path).is_file()
    assert {name for name in AFTER_CHECK if path in stage_code.files_of(name)} == RUN_BY[path]


def test_training_runs_little_of_core() -> None:
    """A change to one word of these files trains every model again."""
    core = {path for path in stage_code.files_of("train") if path.startswith("robustness_study/core/")}
    assert {"seeds", "files", "imports", "registry"} <= {Path(path).stem for path in core}
    assert len(core) <= LARGEST_CORE_OF_TRAINING


PLANTED = {
    "losses/mine.py": "from robustness_study.losses.angular import Config\nfrom robustness_study.losses import _more\n",
    "losses/_more.py": "HALF = 0.5\n",
    "losses/broken.py": "def (\n",
    "losses/angular.py~": "an editor's copy",
    "losses/__pycache__/files.cpython-312.pyc.1402": "",
    "training_sets/mine.py": "from robustness_study.training_sets._steps import batch_attack\n",
    "training_sets/_steps.py": "def batch_attack(config):\n    pass\n",
    "training_sets/latin.py": "# -*- coding: latin-1 -*-\nNAME = '\xe9'\n",
    "webpage/assets/more.js": "let one = 1",
}


def test_code_of_new_ideas_is_found(tmp_path: Path) -> None:
    for folder in ("robustness_study", "stages"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in PLANTED.items():
        path = tmp_path / "robustness_study" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    code = "import json; from robustness_study.stage_code import files_of, names;"
    code += "print(json.dumps({name: sorted(files_of(name)) for name in names()}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    files = {
        stage: {name for name in PLANTED if f"robustness_study/{name}" in found}
        for stage, found in json.loads(done.stdout).items()
    }
    helpers = {"losses/_more.py"}
    assert files["evaluate"] == files["attack"] == files["stress"] == helpers
    assert files["train"] == helpers | {"training_sets/_steps.py"}
    assert files["check_sizes"] == files["transfer"] == helpers | {"losses/mine.py", "losses/broken.py"}
    assert files["training_set"] == {"training_sets/_steps.py"}
    assert files["compare"] == {"training_sets/mine.py", "training_sets/_steps.py", "training_sets/latin.py"}
    assert files["report"] == files["compare"] | {"webpage/assets/more.js"}
    assert files["split"] == set()
    train = set(json.loads(done.stdout)["train"])
    assert "robustness_study/losses/angular.py" in train  # another loss imports it


def test_the_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    lines = digest_lines(stage_code.files_of("split"))
    (tmp_path / "split.txt").write_text(lines)
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", tmp_path / "split.txt"], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert len(lines.splitlines()) > 10


def test_only_stages_that_build_the_network_depend_on_its_digest() -> None:
    """So the file of another network re-trains nothing."""
    for name in AFTER_CHECK:
        builds = "robustness_study/classifier/storage.py" in stage_code.files_of(name)
        assert builds == ("data/network.json" in STAGES[name]["deps"]), name


@pytest.mark.parametrize("name", STAGES)
def test_stage_has_a_description(name: str) -> None:
    desc = STAGES[name]["desc"]
    assert isinstance(desc, str) and desc.strip()


def meet(dep: str, path: str) -> bool:
    """Whether two templates of paths can be the same path, or one a folder that holds the other."""
    one, other = (re.sub(r"\$\{[^}]*\}", "*", each).split("/") for each in (dep, path))
    return all(fnmatch(a, b) or fnmatch(b, a) for a, b in zip(one, other, strict=False))


def of_test_images(deps: list[str]) -> list[str]:
    """The deps that hold test images, or results of a stage that saw test images."""
    makers = [STAGES[name] for name in ("download", "corrupt")]
    made = {path.replace("${item.split}", "test") for stage in makers for path in paths(stage, "outs")}
    of_test = {path for path in made if path.endswith("/test.npz")}
    folders = {"data", "reports", *(path.rpartition("/")[0] for path in of_test)}
    # Everything in reports/ comes from test images. These files in data/ do too, though no split is in their names.
    derived = (
        "data/suite",
        "data/evaluated",
        "data/attacked",
        "data/embedded",
        "data/cells",
        "data/shared",
        "reports/",
    )
    return [dep for dep in deps if dep in of_test | folders or dep.startswith(derived)]


def test_training_sees_no_test_image() -> None:
    assert of_test_images(STAGES["train"]["deps"]) == []


def test_training_sets_see_no_test_image() -> None:
    assert of_test_images(STAGES["training_set"]["deps"]) == []


@pytest.mark.parametrize(
    "planted",
    [
        "data/raw/test.npz", "data/corrupted/test.npz", "data/suite/fog.npz", "data/suite", "data/raw", "data",
        "data/evaluated/angular-clean-0.npz", "data/attacked", "data/cells/angular", "reports/cells",
        "reports/metrics.json",
    ],
)  # fmt: skip
def test_a_test_file_among_the_deps_of_training_is_found(planted: str) -> None:
    assert of_test_images([*STAGES["train"]["deps"], planted]) == [planted]


# --- params ------------------------------------------------------------------------------------------------


def written(node: ast.expr, names: dict[str, list[str]]) -> list[str]:
    """The possible texts of an argument, as dvc.yaml writes them. `names` has the possible texts of its expressions."""
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
    """Each loop variable over a literal of strings, with those strings (loops and comprehensions)."""
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
    asked = {
        name
        for function, call in calls_of_params(tree)
        if function in place
        for name in written(call.args[place[function]], names)
    }
    keys = [key for name, call in calls_of_params(tree) if name == "of_recipe" for key in written(call.args[0], names)]
    return asked | {f"recipes.${{recipe}}.{key}" for key in keys} | ({"recipe"} if keys else set())


def test_sections_are_found_in_source_code() -> None:
    source = (
        'params.section("a", A)\nparams.lookup(values, "b")\nparams.section(f"recipes.{recipe_name}", R)\n'
        'x = [params.lookup(values, name) for name in ("c", "d")]\nfiles.section("e")\n'
        'params.of_recipe("f")\n'
    )
    assert sections_read(source) == {"a", "b", "recipes.${recipe}", "c", "d", "recipe", "recipes.${recipe}.f"}
    with pytest.raises(AssertionError, match="line 1: chosen cannot be read off the source"):
        sections_read("params.section(chosen, A)")


@pytest.mark.parametrize("name", [name for name in STAGES if name != "check"])
def test_params_deps_of_a_stage_are_those_it_reads(name: str) -> None:
    depended = STAGES[name].get("params", [])
    assert len(depended) == len(set(depended))
    assert set(depended) == sections_read((ROOT / "stages" / f"{name}.py").read_text(encoding="utf-8"))


def test_check_depends_on_all_params() -> None:
    assert STAGES["check"]["params"] == [{"params.yaml": None}]


FILES = [(ROOT / name).read_text("utf-8") for name in ("params.yaml", "dvc.yaml")]
ODD = "yes 010 0o10 1e-3 .5 2024-01-01 12:30:45 ~ '#ffcc00' é 1_000 .inf +1 True 0x1F '${a}' C:/images ~/images"


@pytest.mark.parametrize("text", [*FILES, "".join(f"- {value}\n" for value in ODD.split())])
def test_dvc_and_the_stages_read_the_same_values(text: str) -> None:
    """DVC uses a parser in C. The stages use one in Python, whose messages name the line."""
    assert importlib.util.find_spec("_ruamel_yaml"), "the parser in C is not installed: DVC takes longer without it"
    assert YAML(typ="safe").load(text) == YAML(typ="safe", pure=True).load(text)


def test_only_stages_read_params() -> None:
    shared = [
        path for path in (ROOT / "robustness_study").rglob("*.py") if path.name not in ("params.py", "__main__.py")
    ]
    found = [
        path.name
        for path in shared
        for function, _ in calls_of_params(ast.parse(path.read_text(encoding="utf-8")))
        if function in ("read", "section", "of_recipe")
    ]
    assert shared and found == []


@pytest.mark.parametrize("name", [name for name in STAGES if name in PARAMS])
def test_section_of_a_stage_has_its_own_schema(name: str) -> None:
    schema = f"robustness_study/schema/{name}.py"
    assert (ROOT / schema).is_file() and schema in stage_code.files_of(name)
    assert name in STAGES[name]["params"]


@pytest.mark.parametrize("section", PARAMS)
def test_every_section_is_read_by_a_stage(section: str) -> None:
    depended = {name.split(".")[0] for stage in STAGES if stage != "check" for name in STAGES[stage].get("params", [])}
    templates = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert section in depended or f"${{{section}}}" in templates


@pytest.mark.parametrize("kind", ["loss", "train_set"])
def test_every_idea_has_a_file_and_settings(kind: str) -> None:
    names, chosen = {"loss": (losses.names(), "losses"), "train_set": (training_sets.names(), "train_sets")}[kind]
    assert sorted(PARAMS[f"{kind}_config"]) == names
    assert set(PARAMS[chosen]) <= set(names)


# --- packages ----------------------------------------------------------------------------------------------

LAYERS = [  # each may import those before it
    "core", "statistics", "plotting", "split", "corruptions", "schema", "datasets", "natural", "augmentation",
    "training_sets", "losses", "networks", "classifier", "training", "evaluation", "attacks", "planes", "counts",
    "results", "report", "webpage", "stage_code", "check", "audit",
]  # fmt: skip


def package_of(path: str) -> str:
    """The package, or the module that stands for itself, that a file of the library belongs to."""
    return Path(path).parts[1].removesuffix(".py")


def imports_of_packages(top: Path) -> set[tuple[str, str]]:
    """Which package of the library imports which, imports inside functions included."""
    found = set()
    for path in top.rglob("*.py"):
        package = package_of(path.relative_to(top.parent).as_posix())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module == "robustness_study":
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustness_study."):
                modules = [str(node.module).split(".")[1]]
            elif isinstance(node, ast.Import):
                modules = [a.name.split(".")[1] for a in node.names if a.name.startswith("robustness_study.")]
            found |= {(package, module) for module in modules if module != package}
    return found


def imports_going_up(arrows: set[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(arrow for arrow in arrows if LAYERS.index(arrow[0]) < LAYERS.index(arrow[1]))


def test_no_package_imports_one_above_it() -> None:
    arrows = imports_of_packages(ROOT / "robustness_study")
    assert imports_going_up(arrows) == []
    assert {package for arrow in arrows for package in arrow} == set(LAYERS)


def test_an_import_of_a_package_above_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "robustness_study/core"
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("def f():\n    from robustness_study.report import page\n")
    (folder / "b.py").write_text("from robustness_study import losses\n")
    assert imports_going_up(imports_of_packages(tmp_path / "robustness_study")) == [
        ("core", "losses"),
        ("core", "report"),
    ]


def test_the_library_imports_no_stage_and_no_tool() -> None:
    for path in (ROOT / "robustness_study").rglob("*.py"):
        found = project_imports(path)
        assert not [name for name in found if not name.startswith("robustness_study/")], path


def test_stages_are_thin() -> None:
    """Code that a test or another program needs is in the library."""
    for path in (ROOT / "stages").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_A_STAGE, path.name
        functions = [
            node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
        ]
        assert "main" in functions or path.stem == "__init__"


def test_dvc_yaml_is_short() -> None:
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 250


# --- data --------------------------------------------------------------------------------------------------

READ_BY_CELL = {  # the files of a model that a stage reads, as written in the source and in dvc.yaml
    "cell.evaluated": ["data/evaluated/${key}.npz"],
    "cell.attacked": ["data/attacked/${key}.npz"],
    "cell.embedded": ["data/embedded/${key}.npz"],
    "cell.embedded.with_suffix('.json')": ["data/embedded/${key}.json"],
    "cell.model": ["models/${key}"],
    "cell.result(TEMPERATURE)": ["data/cells/${key}/temperature.json"],
}
OF_FIRST = {"cell.evaluated": ["data/evaluated/${losses[0]}-${train_sets[0]}-${seeds[0]}.npz"]}
OF_ALL_MODELS = {"cell.attacked": ["reports/cells"], "target.model": ["reports/cells"]}  # in git, for all of them


def files_read(source: str, names: dict[str, list[str]]) -> set[str]:
    """The files under data/ and models/ that a stage's source reads."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("read_npz", "read_record", "storage.load"):
            if inside := re.match(r"f?'(data/(?:suite|natural))/", ast.unparse(node.args[0])):
                found.add(inside[1])
            else:
                found.update(written(node.args[0], NAMES | names))
    return found


OF_DATA = [
    "check_sizes",
    "split",
    "corrupt",
    "training_set",
    "suite",
    "train",
    "evaluate",
    "attack",
    "stress",
    "embed",
    "render",
]
OF_DATA += ["natural", "transfer", "stability"]


@pytest.mark.parametrize("name", OF_DATA)
def test_data_deps_of_a_stage_are_what_it_reads(name: str) -> None:
    depended = {dep for dep in STAGES[name]["deps"] if not dep.startswith(("data/code/", "robustness_study"))}
    names = {"transfer": OF_ALL_MODELS, "stability": OF_FIRST}.get(name, READ_BY_CELL)
    if name in ("transfer", "stability"):
        assert STAGES[name]["cmd"].endswith(" --seed ${seeds[0]}")
    source = (ROOT / f"stages/{name}.py").read_text(encoding="utf-8")
    assert depended - {"data/network.json", "data/sizes_checked.txt"} == files_read(source, names)


def test_what_git_holds_tells_report_of_other_arrays() -> None:
    """A dep on a folder of many outputs would be missing in a clone without the cache: `--allow-missing` would fail."""
    depended = STAGES["report"]["deps"]
    data = {dep for dep in depended if dep.startswith("data/")}
    assert data == {"data/code/report.txt", "data/raw/test.npz", "data/suite"}
    assert {"reports/cells", "reports/planes"} <= set(depended)
    for stage in ("attack", "stress"):  # evaluate.json has the losses, and plane.json measures of the points
        assert "CONFIDENCES_DIGEST: array_digest" in (ROOT / f"stages/{stage}.py").read_text(encoding="utf-8")


# --- outputs -----------------------------------------------------------------------------------------------

IN_GIT = {"download", "publish", "publish_shared", "render", "compare", "headline"}  # stages that write what git holds


def test_metrics_are_the_headline_and_the_comparison() -> None:
    metrics = {path: settings for stage in STAGES.values() for path, settings in paths(stage, "metrics").items()}
    assert metrics == {"reports/metrics.json": {"cache": False}, "reports/comparison.json": {"cache": False}}


@pytest.mark.parametrize("name", STAGES)
def test_outputs_of_slow_stages_are_cached(name: str) -> None:
    """DVC does not keep or push a run of a stage if any of its outputs is not cached."""
    outputs = paths(STAGES[name], "outs", "metrics", "plots")
    uncached = {path for path, settings in outputs.items() if settings.get("cache") is False}
    assert bool(uncached) == (name in IN_GIT)
    assert not paths(STAGES[name], "plots")  # plots are only at the top of dvc.yaml


@pytest.mark.parametrize("name", STAGES)
def test_git_ignores_what_dvc_caches_and_nothing_else(name: str) -> None:
    """As whole folders, or DVC would write a .gitignore into each, which breaks deps on the folder."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    for path, settings in paths(STAGES[name], "outs", "metrics").items():
        whole = any(path.startswith(top) for top in ("data/", "models/", "reports/examples/", "reports/report.html"))
        assert whole == (settings.get("cache") is not False) or path == "data/raw/source.json"
    assert {"/data/*", "/models/*", "/reports/examples/", "/reports/report.html", "!/data/raw/source.json"} <= set(
        ignored
    )


def test_locks_know_the_stages_whose_arguments_do_not_decide_the_outputs() -> None:
    once = {name for name, stage in STAGES.items() if "matrix" not in stage and " --" in stage["cmd"]}
    assert once == set(ONE_OUTPUT)


@pytest.mark.parametrize("name", ["compare", "headline"])
def test_comparison_runs_on_a_fresh_clone(name: str) -> None:
    """`compare` and `headline` read only files in git, and their code, which `check` records again."""
    data = STAGES[name]["deps"]
    in_git = {
        path for stage in STAGES.values() for path, how in paths(stage, "outs").items() if how.get("cache") is False
    }
    assert data[0] == f"data/code/{name}.txt" and data[1].startswith("reports/cells")
    assert all(any(meet(dep, path) for path in in_git) for dep in data[2:])


def test_plots_are_few_and_begin_with_the_comparison() -> None:
    drawn = [next(iter(as_mapping(entry))) for entry in PIPELINE["plots"]]
    assert drawn[0] == "reports/comparison.csv" and drawn[-1] == "reports/live"
    assert len(drawn) <= 12 and set(drawn) - {"reports/live"} <= written_by_compare_and_headline()


def written_by_compare_and_headline() -> set[str]:
    """The files that these two stages write under reports/, including pictures and tables."""
    named = {f"reports/figures/{picture.name}.png" for picture in PICTURES}
    files = {path for name in ("compare", "headline") for path in paths(STAGES[name], "outs", "metrics")}
    return named | files | {"reports/headline/curves.csv", "reports/headline/confusion.csv"}


def test_charts_with_rows_and_columns_leave_their_order_to_vega() -> None:
    """If it keeps the data's order, it fills the grid by rows and puts one revision's panel under another's."""
    found = 0
    for path in (ROOT / ".dvc/plots").glob("*.json"):
        facet = json.loads(path.read_text(encoding="utf-8")).get("facet", {})
        if {"row", "column"} <= set(facet):
            found += 1
            assert "sort" not in facet["row"] and "sort" not in facet["column"], path.name
    assert found
