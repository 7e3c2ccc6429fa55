"""The pages of docs/extend, followed to the letter: one idea of each kind in a copy, and a tiny study of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from repositories import SMALL, Repository, ran
from ruamel.yaml import YAML

from tools import workspace

PAGES = workspace.ROOT / "docs/extend"
KINDS = ["attack", "corruption", "dataset", "loss", "metric", "network", "picture", "training-set"]
BLOCK = r"\n\n```{}\n(.*?)```"


def page(kind: str) -> str:
    return (PAGES / f"{kind}.md").read_text(encoding="utf-8")


def follow(kind: str, top: Path) -> None:
    """Do in the project at `top` what the page tells to do, but for its commands."""
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
    """What the page's commands set, by key."""
    lines = re.findall(r"^dvc .*", page(kind), re.MULTILINE)
    assert lines, kind
    pairs = [each for line in lines for each in re.findall(r"-S '?([\w.]+)=([^' ]+)'?", line)]
    return {key: YAML(typ="safe").load(value) for key, value in pairs}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """All pages followed, and the pipeline run with what their commands set, with as few models as tell."""
    path = tmp_path_factory.mktemp("extended") / "repository"
    workspace.create(path, SMALL)
    repository = Repository(path)
    settings: dict[str, Any] = {}
    for kind in KINDS:
        follow(kind, path)
        settings |= commands(kind)
    assert settings["losses"][-1] == settings["loss"] == "focal"
    few = {"losses": settings["losses"][-1:], "train_sets": [settings["train_sets"][0], settings["train_sets"][-1]]}
    small = {"recipes.cpu.batch_size": 20, "attack.images": 40, "embed.images": 40, "split.train_share": 0.5}
    workspace.change_params(path / "params.yaml", settings | few | small)
    printed = repository.dvc("repro")
    assert "headline" in ran(printed)
    yield repository


def test_every_kind_of_idea_has_a_page_and_the_index_names_it() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md") if path.stem != "README") == KINDS
    assert sorted(re.findall(r"\]\(([\w-]+)\.md\)", (PAGES / "README.md").read_text(encoding="utf-8"))) == KINDS


@pytest.mark.slow
def test_what_the_ideas_compute_is_in_the_report(study: Repository) -> None:
    report = (study.path / "reports/report.md").read_text(encoding="utf-8")
    assert study.json("data/raw/source.json")["name"] == "stripes" and "**stripes**" in report
    model = study.json("models/focal-half_and_half-0/model.json")
    assert (model["network"], model["loss"], model["loss_config"]) == ("small_cnn", "focal", {"gamma": 2.0})
    assert set(study.json("reports/comparison.json")) == {"focal"}
    assert set(study.json("reports/metrics.json")) == {"clean_trained", "half_and_half_trained"}
    tables = dict(re.findall(r"\n## ([^\n]+)\n(.*?)(?=\n## |\Z)", report, re.DOTALL))
    assert "half_and_half → clean" in tables["Test accuracy"]
    assert "| fade " in tables["Corruptions"]
    assert "| wrong both clean and corrupted " in tables["Beside accuracy"]
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
def test_the_ideas_hold_the_contracts_of_their_kinds(study: Repository) -> None:
    """What `make test` would say of them, types and docstrings aside."""
    tests = ["test_contract.py", "test_training_sets.py", "test_networks.py", "test_attacks_catalogue.py"]
    study.run("python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *(f"tests/{name}" for name in tests))
