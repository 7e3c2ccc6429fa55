"""The pages of docs/extend, followed exactly: one idea of each kind in a copy, and a tiny study of them.

A fast test follows all pages; `check` and the tables of ideas must then know the new ideas. Slow tests run a study.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from repositories import SMALL, Repository, ran
from ruamel.yaml import YAML

from robustness_study import corruptions, datasets, losses, networks, training_sets
from robustness_study.attacks import catalogue
from robustness_study.report.pictures import PICTURES
from robustness_study.results.metrics import BESIDE, METRICS
from tools import workspace

PAGES = workspace.ROOT / "docs/extend"
KINDS = ["attack", "corruption", "dataset", "loss", "metric", "network", "picture", "training-set"]
AGAIN = "or to a project file that it imports, re-runs the stages that run it."
BLOCK = r"\n\n```{}\n(.*?)```"


def page(kind: str) -> str:
    return (PAGES / f"{kind}.md").read_text(encoding="utf-8")


def follow(kind: str, top: Path) -> None:
    """Follows the page in the project at `top`, except for its commands."""
    text, done = page(kind), 0
    for name, code in re.findall(r"Write `([^`]+)`[^\n]*:" + BLOCK.format("python"), text, re.DOTALL):
        (top / name).write_text(code, encoding="utf-8")
        done += 1
    for name, section, block in re.findall(
        r"In `([^`]+)`, add under `([^`]+)`:" + BLOCK.format("yaml"), text, re.DOTALL
    ):
        yaml = YAML()
        values = yaml.load(top / name)
        place = values
        for key in section.split("."):
            place = place[key]
        place.update(yaml.load(block))
        yaml.dump(values, top / name)
        done += 1
    for name, before, code in re.findall(
        r"In `([^`]+)`, write the function before `([^`]+)`:" + BLOCK.format("python"), text, re.DOTALL
    ):
        lines = (top / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (at,) = [number for number, line in enumerate(lines) if line.startswith(f"{before} ")]
        (top / name).write_text("".join([*lines[:at], code, *lines[at:]]), encoding="utf-8")
        done += 1
    for name, table, code in re.findall(r"In `([^`]+)`, add to `([^`]+)`:" + BLOCK.format("python"), text, re.DOTALL):
        lines = (top / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (start,) = [
            number for number, line in enumerate(lines) if re.match(rf"{table}\b.*\($", line.split("#")[0].strip())
        ]
        end = next(number for number in range(start, len(lines)) if lines[number].startswith(")"))
        (top / name).write_text("".join([*lines[:end], code, *lines[end:]]), encoding="utf-8")
        done += 1
    assert done == len(re.findall("```(?:python|yaml)\n", text)), f"{kind}.md has a step that nobody follows"


def commands(kind: str) -> dict[str, Any]:
    """The params that the page's commands set, by key."""
    lines = re.findall(r"^(?:dvc|python -m tools\.scale) .*", page(kind), re.MULTILINE)
    assert lines, kind
    pairs = [each for line in lines for each in re.findall(r"-S '?([\w.]+)=([^' ]+)'?", line)]
    return {key: YAML(typ="safe").load(value) for key, value in pairs}


def follow_all(top: Path) -> dict[str, Any]:
    """Follows every page in the project at `top`; returns the params that all their commands set, by key."""
    settings: dict[str, Any] = {}
    for kind in KINDS:
        follow(kind, top)
        settings |= commands(kind)
    of_loss = commands("loss")
    assert of_loss["losses"][-1] == of_loss["loss"] == "focal"
    assert settings.pop("recipe") == "cpu"  # ideas are tried with `quick` first, then with the study's
    assert settings.pop("recipes.quick.network") == settings["recipes.cpu.network"] == "small_cnn"
    return settings | {"loss": of_loss["loss"], "losses": of_loss["losses"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A copy where all pages were followed and the pipeline ran with their commands' params and few models."""
    path = tmp_path_factory.mktemp("extended") / "repository"
    workspace.create(path, SMALL)
    repository = Repository(path)
    settings = follow_all(path)
    few = {"losses": settings["losses"][-1:], "train_sets": [settings["train_sets"][0], settings["train_sets"][-1]]}
    small = {"recipes.cpu.batch_size": 20, "attack.images": 40, "embed.images": 40, "split.train_share": 0.5}
    workspace.change_params(path / "params.yaml", settings | few | small)
    printed = repository.dvc("repro")
    assert "headline" in ran(printed)
    yield repository


def test_every_kind_of_idea_has_a_page_and_the_index_names_it() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README") == KINDS
    assert sorted(re.findall(r"\]\(([\w-]+)\.md\)", (PAGES / "README.md").read_text(encoding="utf-8"))) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_says_what_a_change_runs_again(kind: str) -> None:
    assert AGAIN in " ".join(page(kind).split())


REGISTERED = """
import json, sys
from robustness_study import check, corruptions, datasets, losses, networks, training_sets
from robustness_study.attacks import catalogue
from robustness_study.core import params
values = params.read()
check.check(values)
assert "torch" not in sys.modules
from robustness_study.report import pictures
from robustness_study.results import metrics
print(json.dumps({
    "attack": [entry.name for entry in catalogue.ATTACKS if entry.name in values["attack"]["attacks"]],
    "corruption": [name for name in corruptions.names() if name in values["suite"]["corruptions"]],
    "dataset": [name for name in datasets.names() if name == values["download"]["dataset"]],
    "loss": [name for name in losses.names() if name in values["losses"]],
    "metric": [metric.name for metric in (*metrics.METRICS, *metrics.BESIDE)],
    "network": [name for name in networks.names() if name == check.chosen_network(values)["network"]],
    "picture": [picture.name for picture in pictures.PICTURES if picture.heading in pictures.HEADINGS],
    "training-set": [name for name in training_sets.names() if name in values["train_sets"]],
}))
"""
ADDED = {
    "attack": "brighter",
    "corruption": "fade",
    "dataset": "stripes",
    "loss": "focal",
    "metric": "both_wrong",
    "network": "small_cnn",
    "picture": "drop",
    "training-set": "half_and_half",
}


def test_every_idea_is_registered_and_passes_the_check(tmp_path: Path) -> None:
    """The test follows all pages in a copy and changes its params as their commands do."""
    path = tmp_path / "repository"
    workspace.create(path, {})
    workspace.change_params(path / "params.yaml", follow_all(path))
    found = json.loads(Repository(path).run(sys.executable, "-c", REGISTERED))
    assert {kind: ADDED[kind] for kind in KINDS if ADDED[kind] in found[kind]} == ADDED


LISTED: dict[str, list[str]] = {
    "attack": [entry.name for entry in catalogue.RUN],
    "corruption": corruptions.names(),
    "dataset": datasets.names(),
    "loss": losses.names(),
    "metric": [metric.name for metric in (*METRICS, *BESIDE)],
    "network": [*networks.names(), "timm/NAME"],
    "picture": [picture.name for picture in PICTURES],
    "training-set": training_sets.names(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_lists_all_ideas(kind: str) -> None:
    last = page(kind).rstrip().rpartition("\n\n")[2]
    assert last.startswith("The project has ")
    listed = [name for name in re.findall(r"`([^`]+)`", last) if name not in ("METRICS", "BESIDE")]
    assert listed == LISTED[kind]


@pytest.mark.slow
def test_results_of_the_ideas_are_in_the_report(study: Repository) -> None:
    report = (study.path / "reports/report.md").read_text(encoding="utf-8")
    assert study.json("data/raw/source.json")["name"] == "stripes" and "**stripes**" in report
    model = study.json("models/focal-half_and_half-0/model.json")
    assert (model["network"], model["loss"], model["loss_config"]) == ("small_cnn", "focal", {"gamma": 2.0})
    assert set(study.json("reports/comparison.json")) == {"focal"}
    assert set(study.json("reports/metrics.json")) == {"clean_trained", "half_and_half_trained"}
    tables = dict(re.findall(r"\n## ([^\n]+)\n(.*?)(?=\n## |\Z)", report, re.DOTALL))
    assert "half_and_half → clean" in tables["Test accuracy"]
    assert "| fade " in tables["Corruptions"]
    assert "| wrong both clean and corrupted " in tables["Beyond accuracy"]
    assert "(figures/drop.png)" in tables["Test accuracy"] and (study.path / "reports/figures/drop.png").is_file()
    stress = study.json("reports/cells/focal/clean-0/stress.json")
    assert {row["corruption"] for row in stress["rows"]} == {"clean", "gaussian_noise", "fog", "fade"}


@pytest.mark.slow
def test_the_new_attack_is_computed_and_shown(study: Repository) -> None:
    report = (study.path / "reports/report.md").read_text(encoding="utf-8")
    attacks = study.json("reports/cells/focal/clean-0/attack.json")["attacks"]
    (new,) = set(attacks) & set(re.findall(r"titles=\{\"(\w+)\"", page("attack")))
    (title,) = re.findall(r"titles=\{\"\w+\": \"([^\"]+)\"", page("attack"))
    assert f"| {title}, ε = " in report.split("## Other attacks")[1].split("\n## ")[0]
    assert attacks[new]["predictions"]


@pytest.mark.slow
def test_the_ideas_pass_the_contract_tests_of_their_kinds(study: Repository) -> None:
    """The contract tests of `make test` pass with the ideas."""
    names = ["contract", "losses", "networks", "training_sets", "attacks_catalogue", "results"]
    tests = [f"tests/test_{name}.py" for name in names]
    # Every test with "contract" in its name: dvc.yaml and packages, and each kind of idea.
    study.run("python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "contract or catalogue", *tests)
