"""The pipeline as users run it: a repository made from the working tree, real DVC, a small dataset."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from preloaded import FILES
from repositories import SMALL, Repository, ran
from ruamel.yaml import YAML

from robustness_study import datasets, losses, networks, training_sets
from robustness_study.core import imports, registry
from robustness_study.report.markdown import escaped
from robustness_study.stage_code import ONE_IDEA
from tools import workspace

CELLS = [f"{loss}-{train_set}-0" for loss in ("cross_entropy", "angular") for train_set in ("clean", "corrupted")]
STAGES = {
    "check", "download", "check_sizes", "split@0", "corrupt@train", "corrupt@test", "suite", "natural",
    "training_set@clean", "training_set@corrupted", "transfer", "stability", "publish_shared", "compare", "report",
    "headline",
    *(f"{stage}@{cell}" for stage in ("train", "evaluate", "attack", "stress", "embed") for cell in CELLS),
    *(f"{stage}@{cell}" for stage in ("publish", "render") for cell in CELLS),
}  # fmt: skip

STAGE = YAML(typ="safe").load(workspace.ROOT / "dvc.yaml")["stages"]
# Stages that only copy, draw and compare. Their outputs are in git and not in DVC's run-cache.
AGAIN = {
    "publish_shared",
    "compare",
    "headline",
    *(f"{name}@{cell}" for name in ("publish", "render") for cell in CELLS),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository in which `dvc repro` ran once from nothing and was committed."""
    path = tmp_path_factory.mktemp("study") / "repository"
    workspace.create(path, SMALL)
    repository = Repository(path)
    (path.parent / "files").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FILES, str(path.parent / "files"))
        assert ran(repository.typed("dvc repro")) == STAGES
    repository.commit("The study")
    return repository


@pytest.fixture
def study(whole: Repository) -> Iterator[Repository]:
    """The same repository, restored after the test."""
    yield whole
    whole.reset()


def test_every_stage_left_its_results(study: Repository) -> None:
    locked = YAML(typ="safe").load(study.path / "dvc.lock")["stages"]
    assert set(locked) == STAGES
    comparison, metrics = study.json("reports/comparison.json"), study.json("reports/metrics.json")
    assert metrics == comparison["cross_entropy"]
    for loss in ("cross_entropy", "angular"):
        for train_set in ("clean", "corrupted"):
            figures = comparison[loss][f"{train_set}_trained"]
            absent = {name for name, value in figures.items() if value is None}
            assert absent == {"natural_cifar10_1", "natural_cifar10_1_drop"}
            shares = [name for name in figures if name not in absent and not name.endswith(("gap", "drop"))]
            assert all(0 <= figures[name] <= 1 for name in shares)
            assert figures["generalisation_gap"] == pytest.approx(figures["train_clean"] - figures["test_clean"])
            assert figures["fgsm_8"] <= figures["test_clean"] + 0.1
    # Three epochs on 450 digits give clearly more than guessing, which gives 0.1.
    assert comparison["angular"]["clean_trained"]["test_clean"] > 0.3
    assert not study.run("git", "status", "--porcelain")


def test_a_stage_runs_no_code_that_its_deps_lack(study: Repository) -> None:
    """If one did, a change to that code would re-run nothing, and results would be wrong."""
    network = imports.project_imports(imports.ROOT / networks.file_of("timm/test_resnet"))
    seen = set()
    for path in (study.path.parent / "files").glob("*.jsonl"):
        if (stage := path.stem) == "check":
            continue
        seen.add(stage)
        recorded = {line.split("  ")[1] for line in (study.path / f"data/code/{stage}.txt").read_text().splitlines()}
        for line in path.read_text(encoding="utf-8").splitlines():
            run = json.loads(line)
            named = {
                losses: argument(run["arguments"], "--loss"),
                training_sets: argument(run["arguments"], "--train-set"),
                datasets: "digits",
            }
            ideas = {registry.file_of(kind.__name__, named[kind]) for kind in ONE_IDEA.get(stage, ())}
            by_digest = network if "data/network.json" in STAGE[stage]["deps"] else set()
            beyond = set(run["files"]) - recorded - ideas - by_digest
            assert {path for path in beyond if not imports.only_docstring(imports.ROOT / path)} == set(), stage
            assert len(run["files"]) > 10
    assert seen == {name.partition("@")[0] for name in STAGES} - {"check"}


def argument(arguments: list[str], name: str) -> str:
    return dict(zip(arguments[::2], arguments[1::2], strict=True)).get(name, "")


def test_every_alarm_that_was_accepted_is_in_the_report(study: Repository) -> None:
    due = {
        f"{path.parts[-3]}-{path.parts[-2]}: {name}: {reason}"
        for path in study.path.glob("reports/cells/*/*/attack.json")
        for name, reason in json.loads(path.read_text(encoding="utf-8"))["alarms"].items()
    }
    due |= {f"transfer: {name}: {reason}" for name, reason in study.json("reports/transfer.json")["alarms"].items()}
    lines = (study.path / "reports/report.md").read_text(encoding="utf-8").splitlines()
    found = {
        line.removeprefix("> **Accepted alarm**, ").removesuffix(".") for line in lines if "Accepted alarm" in line
    }
    assert found == due
    assert any("pgd_leaves_some" in line for line in due)


def test_images_and_models_stay_out_of_git(study: Repository) -> None:
    tracked = study.run("git", "ls-files").splitlines()
    assert not [
        name for name in tracked if name.endswith((".npz", ".safetensors")) or ("examples/" in name and ".png" in name)
    ]
    assert [name for name in tracked if name.startswith(("data/", "models/"))] == [
        "data/raw/source.json",
        "models/README.md",
    ]
    assert "reports/cells/angular/clean-0/evaluate.json" in tracked
    # DVC wrote no .gitignore, which would break a dep on the folder in a fresh clone.
    assert [path.parent for path in study.path.rglob(".gitignore")] == [study.path, study.path / ".dvc"]


def test_running_again_runs_nothing(study: Repository) -> None:
    assert not ran(study.dvc("repro"))
    assert not ran(study.dvc("repro", "split", "corrupt"))
    assert not ran(study.dvc("--wait-for-lock", "repro", "-s", "train@angular-clean-0"))
    assert not study.run("git", "status", "--porcelain")


def test_looking_at_the_source_again_finds_the_same_data(study: Repository) -> None:
    assert ran(study.typed("dvc repro -f download")) == {"check", "download"}
    assert not ran(study.dvc("repro"))
    assert not study.run("git", "status", "--porcelain")


def test_another_headline_trains_nothing_and_changes_only_metrics(study: Repository) -> None:
    before = study.json("reports/metrics.json")
    assert ran(study.typed("dvc exp run -S loss=angular")) == {"check", "headline"}
    assert study.json("reports/metrics.json") == study.json("reports/comparison.json")["angular"] != before
    assert study.run("git", "diff", "--stat", "params.yaml").count("\n") == 2  # one file, one line changed
    study.run("git", "branch", "-D", "my-branch", fails=None)
    study.typed("git switch -c my-branch")
    study.typed("git add dvc.lock params.yaml data/raw/source.json reports")
    study.typed('git commit -m "Angular is the headline"')
    assert not study.run("git", "status", "--porcelain")
    assert "clean_trained.test_clean" in study.typed("dvc metrics show")
    table = study.typed("dvc metrics diff main my-branch")
    rows = table.strip().splitlines()[1:]
    assert rows
    assert {row.split()[0] for row in rows} == {"reports/metrics.json"}
    assert any("clean_trained.test_clean" in row for row in rows)


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        (
            "loss_config.angular.alpha_degrees",
            45.0,
            {"check_sizes", "train@angular-clean-0", "train@angular-corrupted-0"},
        ),
        ("attack.images", 40, {"check_sizes", "transfer", *(f"attack@{cell}" for cell in CELLS)}),
        ("corrupt.mix.gaussian_noise.sigma", 0.2, {"corrupt@train", "corrupt@test", "compare", "headline"}),
        (
            "recipes.cpu.network",
            "wide_resnet",
            {"check_sizes", *(f"train@{cell}" for cell in CELLS), "compare", "headline"},
        ),
        (
            "suite.images",
            40,
            {"suite", *(f"stress@{cell}" for cell in CELLS)},
        ),
    ],
)
def test_a_changed_parameter_re_runs_the_stages_that_read_it(
    study: Repository, key: str, value: float, stages: set[str]
) -> None:
    workspace.change_params(study.path / "params.yaml", {key: value})
    # A dry run cannot know whether new outputs will differ, so it names only the first stages.
    assert ran(study.dvc("repro", "--dry")) == {"check", "report", *stages}


def test_the_headline_needs_only_the_models_of_its_loss(study: Repository) -> None:
    workspace.change_params(study.path / "params.yaml", {"loss": "angular"})
    upstream = set(re.findall(r'"(train@[^"]+)"', study.dvc("dag", "--dot", "headline")))
    assert upstream == {"train@angular-clean-0", "train@angular-corrupted-0"}


def test_clean_models_do_not_see_the_corruption(study: Repository) -> None:
    locked = YAML(typ="safe").load(study.path / "dvc.lock")["stages"]
    for name in ("train@angular-clean-0", "train@angular-corrupted-0"):
        data = {dep["path"] for dep in locked[name]["deps"] if dep["path"].startswith("data/")}
        seen = {path for path in data if "corrupt" in path}
        assert seen == ({"data/training_sets/corrupted.npz"} if "corrupted" in name else set())


@pytest.mark.slow
def test_setting_a_parameter_back_brings_results_from_the_run_cache(study: Repository) -> None:
    lock, reports = (study.path / "dvc.lock").read_bytes(), results_in_git(study)
    workspace.change_params(study.path / "params.yaml", {"attack.images": 40, "embed.neighbours": 10})
    stages = {f"{stage}@{cell}" for stage in ("attack", "embed") for cell in CELLS} | {"transfer", "stability"}
    assert ran(study.dvc("repro")) == {"check", "check_sizes", "report", *stages, *AGAIN}
    assert results_in_git(study) != reports
    study.run("git", "checkout", "params.yaml")
    assert ran(study.dvc("repro")) == AGAIN
    assert results_in_git(study) == reports
    assert (study.path / "dvc.lock").read_bytes() == lock


def results_in_git(repository: Repository) -> dict[str, bytes]:
    """Every result in git, except the curves of models in training."""
    names = repository.run("git", "ls-files", "reports").splitlines()
    return {name: (repository.path / name).read_bytes() for name in names if not name.startswith("reports/live")}


@pytest.mark.slow
def test_another_machine_gets_every_result_from_the_remote(study: Repository) -> None:
    """This works without `dvc.lock` too: DVC's run-cache knows the outputs of each stage for its inputs."""
    study.typed("dvc remote add -d shelf ../shelf")
    study.commit("A remote")
    study.typed("dvc push --run-cache")
    study.run("git", "clone", "-q", str(study.path), "../another-machine")
    clone = Repository(study.path.parent / "another-machine")
    clone.dvc("config", "--local", "cache.dir", "../../own-cache")
    reports, lock = results_in_git(clone), (clone.path / "dvc.lock").read_bytes()
    (clone.path / "dvc.lock").unlink()
    # A download is not in the run-cache either: DVC cannot see its source.
    assert ran(clone.typed("dvc repro --pull")) == {"download", *AGAIN}
    assert results_in_git(clone) == reports
    assert (clone.path / "dvc.lock").read_bytes() == lock


@pytest.mark.slow
def test_another_training_set_is_made_and_trained_on_when_it_is_named(study: Repository) -> None:
    workspace.change_params(study.path / "params.yaml", {"train_sets": ["clean", "corrupted", "augmix"]})
    # A dry run stops at missing files.
    assert ran(study.dvc("repro", "training_set@augmix")) == {"check", "training_set@augmix"}
    would_run = ran(study.dvc("repro", "--dry", "train"))
    assert would_run == {"train@angular-augmix-0", "train@cross_entropy-augmix-0"}


def test_a_file_of_another_network_or_loss_re_trains_nothing(study: Repository) -> None:
    library = study.path / "robustness_study"
    (library / "networks/mine.py").write_text("def make(network):\n    raise NotImplementedError\n")
    (library / "losses/mine.py").write_text("BATCHES = 'shuffled'\n")
    try:
        study.dvc("repro", "check")
        printed = study.dvc("repro", "--dry")
        # `check_sizes` and `transfer` may load any loss.
        assert ran(printed) == {"check_sizes", "transfer"}
    finally:
        (library / "networks/mine.py").unlink()
        (library / "losses/mine.py").unlink()


def test_a_change_to_the_code_of_training_trains_every_model_again(study: Repository) -> None:
    changed = study.path / "robustness_study/training/optimiser.py"
    before = changed.read_text(encoding="utf-8")
    changed.write_text(before + "\n# a change\n", encoding="utf-8")
    assert ran(study.dvc("repro", "--dry")) == {"check"}  # docs/dvc.md says so
    printed = study.dvc("repro", "--single-item", f"train@{CELLS[0]}", fails=None)
    assert "didn't change" in printed
    study.typed("dvc repro check")
    assert {f"train@{cell}" for cell in CELLS} <= ran(study.typed("dvc repro --dry"))
    changed.write_text(before + "\n# another, while the pipeline runs\n", encoding="utf-8")
    printed = study.dvc("repro", "--single-item", f"train@{CELLS[0]}", fails=True)
    said = (
        "error: robustness_study/training/optimiser.py changed after `check` recorded the code; run `dvc repro` again"
    )
    assert said in printed.splitlines()


def test_a_bad_parameter_is_named_before_anything_runs(study: Repository) -> None:
    printed = study.dvc("exp", "run", "-S", "loss=nonsense", fails=True)
    assert f"loss is 'nonsense', which does not exist; choose one of {', '.join(losses.names())}" in printed
    assert ran(printed) == {"check"}
    study.typed("touch params.yaml")
    study.typed("git checkout params.yaml dvc.lock data/raw/source.json reports")
    study.typed("dvc checkout")
    (study.path / "reports/cells/arcface").mkdir()
    (study.path / "reports/cells/arcface/new.json").write_text("{}", encoding="utf-8")
    assert "reports/cells/arcface/" in study.typed("git clean -nd reports")
    study.typed("git clean -fd reports")
    assert not ran(study.dvc("repro"))
    assert not study.run("git", "status", "--porcelain")


@pytest.mark.slow
def test_a_fresh_clone_without_the_cache_is_up_to_date(study: Repository, tmp_path: Path) -> None:
    study.run("git", "clone", "-q", str(study.path), str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone")
    assert not ran(clone.typed("dvc repro --allow-missing --dry"))
    # The comparison uses only files in git.
    shutil.rmtree(clone.path / "reports/figures")
    (clone.path / "reports/comparison.json").unlink()
    clone.run("python", "-m", "stages.compare")
    assert not clone.run("git", "status", "--porcelain")
    assert ran(clone.typed("dvc exp run --allow-missing -S loss=angular")) == {"check", "headline"}


def test_a_missing_cell_stops_the_comparison(study: Repository) -> None:
    (study.path / "reports/cells/angular/corrupted-0/attack.json").unlink()
    printed = study.run("python", "-m", "stages.compare", fails=True)
    assert printed.strip().startswith("error: the cell angular-corrupted-0 is missing")
    assert len(printed.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["show", "diff"])
def test_plots_are_few_and_work_off_line(study: Repository, command: str) -> None:
    study.run("git", "branch", "-f", "my-branch", "main")
    printed = study.typed("dvc plots show") if command == "show" else study.typed("dvc plots diff main my-branch")
    assert "failed" not in printed and "error" not in printed.lower()
    page = (study.path / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert not re.findall(r"""src=["']https?:""", page)
    assert (study.path / ".dvc/vega/vega.js").exists()  # the local file that the page loads instead
    charts = re.findall(r'id = "(reports_[^"]+)"', page)
    pictures = re.findall(r"<p>(reports/figures/[^<]+)</p>", page)
    # Plots without data are not on the page: no model trains now.
    assert charts[0] == "reports_comparison_csv" and charts[-1] == "reports_live_none_tsv"
    assert len(set(charts)) - 1 + len(set(pictures)) <= 12 and len(set(pictures)) == 4


@pytest.mark.slow
def test_running_everything_by_force_changes_no_byte(study: Repository) -> None:
    lock = (study.path / "dvc.lock").read_bytes()
    assert ran(study.dvc("repro", "--force")) == STAGES
    assert (study.path / "dvc.lock").read_bytes() == lock
    assert not study.run("git", "status", "--porcelain")


@pytest.mark.slow
def test_a_users_own_images_run_through_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their classes have names that matplotlib, Markdown, CSV and YAML could take for something else."""
    path, rng = tmp_path / "repository", np.random.default_rng(0)
    names = ["$", "$$", '_0x1e3|a, "猫" <b>']
    for part, count in (("train", 40), ("test", 12)):
        for name, level in zip(names, (170, 60, 115), strict=True):
            folder = tmp_path / "my_images" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(rng.normal(level, 20, (40, 50, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    small = {"recipes.cpu.batch_size": 12, "attack.images": 30, "embed.images": 30, "losses": ["cross_entropy"]}
    # Sixty-four steps: after nine, batch norm's statistics are still far off, logits are huge and gradients zero.
    small |= {"split.train_share": 0.8, "recipes.cpu.epochs": 8}
    sets = {"train_sets": ["corrupted", "augmix"]}
    workspace.create(path, {**SMALL, **small, **sets})
    repository = Repository(path)
    shutil.move(tmp_path / "my_images", path)
    printed = repository.typed("dvc exp run -S download.dataset=folder -S download.folder=my_images")
    assert {"train@cross_entropy-corrupted-0", "render@cross_entropy-corrupted-0", "headline"} <= ran(printed)
    assert {"training_set@augmix", "train@cross_entropy-augmix-0"} <= ran(printed)
    # Bright, dark and grey images are always classified correctly.
    comparison = repository.json("reports/comparison.json")["cross_entropy"]
    assert all(comparison[f"{train_set}_trained"]["test_clean"] > 0.9 for train_set in ("corrupted", "augmix"))
    assert repository.json("data/raw/source.json")["classes"] == names
    report = (path / "reports/report.md").read_text(encoding="utf-8")
    assert "Unofficial data" in report and escaped(names[2]) in report
    confusion = pd.read_csv(path / "reports/headline/confusion.csv", keep_default_na=False)
    assert set(confusion["actual"]) == set(names)
    # The same images in another folder are the same data: nothing else runs.
    monkeypatch.setenv("HOME", str(tmp_path))
    (path / "my_images").rename(tmp_path / "Bilder [2024]")
    printed = repository.typed("""dvc exp run -S download.dataset=folder -S 'download.folder="~/Bilder [2024]"'""")
    assert ran(printed) == {"check", "download"}


@pytest.mark.slow
def test_the_demo_learns_and_does_not_change_the_working_tree() -> None:
    def tree() -> dict[str, bytes]:
        return {name: (workspace.ROOT / name).read_bytes() for name in workspace.files()}

    before = tree()
    printed = Repository(workspace.ROOT).typed("make demo")
    assert "trained on → tested on" in printed
    assert ".demo/reports/report.html" in printed
    comparison = Repository(workspace.ROOT / ".demo").json("reports/comparison.json")
    for loss in ("cross_entropy", "angular"):
        assert comparison[loss]["clean_trained"]["test_clean"] >= 0.85  # guessing gives 0.1
    assert tree() == before
