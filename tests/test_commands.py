"""Commands of README and docs, run exactly as written there, on a small dataset.

tests/test_documentation.py checks that some test types every shown command. The three main commands, and those of
sharing and repair, are typed in tests/test_end_to_end.py; those of the package in tests/test_package.py.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from repositories import SMALL, Repository, ran
from safetensors.torch import save_file
from small_cifar10 import batch_pickle, names_pickle, unpack

from robustness_study import losses, networks
from robustness_study.classifier import storage
from robustness_study.core import params
from robustness_study.core.files import read_record
from robustness_study.datasets._cifar10_files import BATCHES, BINARY, PYTHON
from robustness_study.natural import cifar10_1
from tools import workspace

pytestmark = pytest.mark.slow

# As few steps as will do: these tests ask what commands do, not how well models are.
# A ResNet-18, because AutoAttack's environment has no timm.
QUICK = {
    "seeds": [1],
    "recipes.cpu.epochs": 1,
    "recipes.cpu.network": "resnet18",
    "recipes.cpu.stem": "imagenet",
}
# Of all 10,000 test images, few are attacked and corrupted.
FEW = {key: value for key, value in SMALL.items() if key.startswith(("attack.", "suite.", "embed."))}
# With the recipes' own learning rates, training on so few images diverges. A dead network has no gradient to attack.
SHORT = {
    "stem": "imagenet",
    "epochs": 1,
    "batch_size": 25,
    "peak_learning_rate": 0.03,
    "watched_images": 50,
    "compile": False,
}
SHORTENED = {"gpu": SHORT, "quick": ("epochs", "batch_size", "peak_learning_rate", "watched_images")}
TRAIN_SETS = ("clean", "corrupted")
CELLS = [f"{loss}-{train_set}-1" for loss in ("angular", "cross_entropy") for train_set in TRAIN_SETS]


def trained(printed: str) -> list[str]:
    return sorted(name.removeprefix("train@") for name in ran(printed) if name.startswith("train@"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A study made with two of the commands: first one loss, then the others with two models at a time."""
    path = tmp_path_factory.mktemp("commands") / "repository"
    short = {f"recipes.{name}.{key}": SHORT[key] for name, keys in SHORTENED.items() for key in keys}
    workspace.create(path, SMALL | QUICK | short)
    repository = Repository(path)
    printed = repository.typed("dvc exp run -S loss=angular headline")
    assert trained(printed) == CELLS[:2] and "compare" not in ran(printed)
    repository.run("git", "checkout", "-q", "params.yaml")
    printed = repository.typed("python -m tools.scale --jobs 2")
    assert set(repository.json("reports/comparison.json")) == {"cross_entropy", "angular"}
    assert not ran(repository.dvc("repro"))
    repository.commit("The study")
    return repository


@pytest.fixture
def study(whole: Repository) -> Iterator[Repository]:
    yield whole
    whole.reset()


def test_setting_up_again_and_activating(tmp_path: Path) -> None:
    repository = Repository(workspace.ROOT)
    assert "Nothing to be done" in repository.run("make", "setup") or not repository.run("make", "-s", "setup")
    # After the page's previous line, the commands come from the environment.
    (tmp_path / "which.sh").write_text("source .venv/bin/activate\ncommand -v dvc\n", encoding="utf-8")
    repository.typed("source .venv/bin/activate")
    found = repository.run("env", "PATH=/usr/bin:/bin", "bash", str(tmp_path / "which.sh"))
    assert found.strip() == str(workspace.ROOT / ".venv/bin/dvc")


def test_repro_of_a_finished_study_runs_nothing(study: Repository) -> None:
    assert not ran(study.typed("STUDY_DEVICE=cpu dvc repro"))
    assert not ran(study.typed("dvc repro split"))
    study.typed("python -m tools.scale --gpus 0 1 2 3")
    assert "up to date" in study.typed("dvc status")
    assert "0 problems" in study.typed("python -m tools.verify")
    assert not study.run("git", "status", "--porcelain")


def test_page_of_the_study_and_of_another_revision_beside_it(study: Repository) -> None:
    page = (study.path / "reports/report.html").read_text(encoding="utf-8")
    assert "Robustness report" in page and "Against" not in page
    assert "reports/against.html" in study.typed("python -m tools.report --against main")
    assert "Against main" in (study.path / "reports/against.html").read_text(encoding="utf-8")
    assert not study.run("git", "status", "--porcelain")


def test_one_more_loss_trains_only_its_models(study: Repository) -> None:
    printed = study.typed("dvc exp run -S loss=arcface -S 'losses=[cross_entropy,angular,arcface]'")
    assert trained(printed) == ["arcface-clean-1", "arcface-corrupted-1"]
    assert study.json("reports/metrics.json") == study.json("reports/comparison.json")["arcface"]


def test_an_idea_with_the_quick_recipe(study: Repository) -> None:
    """A quarter of the images is attacked and corrupted, and the report has a table of claims about the idea."""
    counts = {"fgsm": (50, 12), "noise": (25, 6), "pgd": (10, 2)}  # with the recipes cpu and quick

    def attacked(loss: str) -> dict[str, int]:
        attacks = read_record(study.path / f"reports/cells/{loss}/clean-1/attack.json")["attacks"]
        return {name: attacks[name]["images"] for name in counts}

    assert attacked("cross_entropy") == {name: whole for name, (whole, _) in counts.items()}
    printed = study.typed("dvc exp run -S recipe=quick -S loss=arcface -S 'losses=[cross_entropy,arcface]'")
    assert trained(printed) == [f"{loss}-{name}-1" for loss in ("arcface", "cross_entropy") for name in TRAIN_SETS]
    for loss in ("arcface", "cross_entropy"):
        assert attacked(loss) == {name: share for name, (_, share) in counts.items()}
        assert read_record(study.path / f"reports/cells/{loss}/clean-1/stress.json")["images"] == 12
        sets = read_record(study.path / f"reports/cells/{loss}/clean-1/evaluate.json")["sets"]
        images = {row["set"]: row["images"] for row in sets}
        split = np.load(study.path / "data/split/1.npz")
        assert images["test_clean"] == images["test_corrupted"] == len(split["test"])
        assert images["val_clean"] == images["val_corrupted"] == round(0.25 * len(split["val"]))
    report = (study.path / "reports/report.md").read_text(encoding="utf-8")
    assert "**Claims about the loss arcface.**" in report and "Not tested, because this study has no models" in report
    assert "Claims about the loss arcface. They are" in (study.path / "reports/report.html").read_text(encoding="utf-8")
    printed = study.typed(
        "python -m tools.scale --jobs 2 -S recipe=quick -S loss=arcface -S 'losses=[cross_entropy,arcface]'"
    )
    assert "up to date" in printed and not trained(printed)
    study.typed("dvc exp save --name arcface-quick")
    assert "arcface-quick" in study.dvc("exp", "list")


def test_one_more_loss_on_workers_in_clones(study: Repository, tmp_path: Path) -> None:
    """The committed files name the loss, so that the study may go back to them."""
    study.typed("cp tools/scale/sites/laptop.yaml site.yaml")
    site = study.path / "site.yaml"
    site.write_text(site.read_text().replace("$HOME/.cache/study-clones", str(tmp_path)), encoding="utf-8")
    workspace.change_params(study.path / "params.yaml", {"losses": ["cross_entropy", "angular", "cosface"]})
    printed = study.typed("python -m tools.scale --site site.yaml --dry")
    assert "2 models" in printed and "cosface-clean-1: train, evaluate, attack, stress, embed" in printed
    printed = study.typed("python -m tools.scale --site site.yaml")
    assert not trained(printed)  # here; the workers' output is beside their clones
    assert set(study.json("reports/comparison.json")) == {"cross_entropy", "angular", "cosface"}
    assert "2 done, 4 up to date" in study.typed("python -m tools.scale --status")
    assert len([*tmp_path.glob("*/cosface-*-1.log")]) == 2
    assert "most workers" in study.typed("python -m bench.scale")


def test_training_sets_are_compared_with_the_quick_recipe(study: Repository) -> None:
    """Models of another test may be in the run-cache: those trained on clean and on corrupted images."""
    printed = study.typed(
        "dvc exp run -S recipe=quick -S 'losses=[cross_entropy]' -S 'train_sets=[clean,corrupted,augmix,adversarial]'"
    )
    new = {"cross_entropy-adversarial-1", "cross_entropy-augmix-1"}
    assert new <= set(trained(printed)) <= new | {f"cross_entropy-{name}-1" for name in TRAIN_SETS}
    report = (study.path / "reports/report.md").read_text(encoding="utf-8")
    assert "**Claims about training on augmix.**" in report and "training on adversarial.**" not in report
    assert "robust_training.json: 4 models, recipe quick" in study.typed("python -m bench.robust_training")


def test_adversarial_training_is_watched_and_shown_apart(study: Repository) -> None:
    printed = study.typed("dvc exp run -S 'train_sets=[clean,corrupted,adversarial]'")
    assert trained(printed) == ["angular-adversarial-1", "cross_entropy-adversarial-1"]
    report = (study.path / "reports/report.md").read_text(encoding="utf-8")
    assert "`adversarial`: These models are a positive control" in report
    assert "val_pgd_accuracy" in (study.path / "reports/curves.csv").read_text(encoding="utf-8")


def test_the_other_recipe(study: Repository) -> None:
    here = torch.cuda.is_available()
    printed = study.typed("STUDY_DEVICE=cuda dvc exp run -S recipe=gpu", fails=not here)
    if not here:
        assert "error: STUDY_DEVICE is cuda, but " in printed
        printed = study.typed("dvc exp run -S recipe=gpu")
    assert trained(printed) == CELLS
    assert "Recipe `gpu`" in (study.path / "reports/report.md").read_text(encoding="utf-8")


def test_a_key_of_the_recipe_trains_every_model_with_it(study: Repository) -> None:
    printed = study.typed("dvc exp run -S recipe=cpu -S recipes.cpu.cutout_pixels=8")
    assert trained(printed) == CELLS


def test_another_corruption_before_the_studies(study: Repository) -> None:
    printed = study.typed("dvc exp run -S 'corrupt.before=[{corruption: fog, severity: 3, probability: 0.5}]'")
    assert trained(printed) == ["angular-corrupted-1", "cross_entropy-corrupted-1"]
    assert {"corrupt@train", "corrupt@test", "compare"} <= ran(printed)


def test_accepted_alarms_are_those_named(study: Repository) -> None:
    # Models of one epoch may raise any alarm, so `attack` may fail, but only because of an alarm.
    printed = study.typed("dvc exp run -S 'attack.accept=[rescaled_logits,zero_gradients]'", fails=None)
    assert {name for name in ran(printed) if name.startswith("attack@")}
    if "failed to reproduce" in printed:
        assert "failed to reproduce 'attack@" in printed and "attack.accept" in printed, printed
    study.reset()
    workspace.change_params(study.path / "params.yaml", {"transfer.accept": [], "transfer.images": 40})
    assert "transfer" in ran(study.typed("dvc exp run -S 'transfer.accept=[transfer_stronger]'"))


def test_trials_and_settings(study: Repository) -> None:
    assert not ran(study.typed("dvc repro split training_set"))  # all that a trial needs is there
    printed = study.typed("""python -m bench.trials '{"epochs": 8, "flip": "off"}' --seed 1""")
    assert '{"epochs": 8, "flip": "off"}' in printed
    assert study.json("bench/results/trials.json")[-1]["changes"] == {"epochs": 8, "flip": "off"}
    study.typed("python -m bench.measuring --loss cross_entropy --train-set clean --seed 1")
    row = study.json("bench/results/measuring.json")["cross_entropy-clean-1"]
    assert row["attacked_images"] == 500 < row["images"] < 4000  # the digits have fewer validation images


def test_autoattack(study: Repository) -> None:
    (study.path / ".venv").symlink_to(workspace.ROOT / ".venv")
    study.typed("make autoattack")
    written = study.json("bench/results/autoattack.json")
    assert written["model"] == "cross_entropy-clean-1" and 10 <= written["images"] <= 200
    assert [row["epsilon_255"] for row in written["rows"]] == [2, 4]
    for row in written["rows"]:
        share, agree = row["accuracy"], row["agree"]
        assert share["published_apgd"] <= share["published_apgd_ce"] and share["apgd"] <= share["apgd_ce"]
        assert abs(share["apgd"] - share["published_apgd"]) <= 1 - agree["apgd"] <= 0.1


def test_corruptions_without_installing(study: Repository) -> None:
    assert "fog" in study.typed("python -m robustness_study.corruptions --list")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.savez(study.path / "IN.npz", images=images)
    study.typed("python -m robustness_study.corruptions IN.npz SHEET.png --sheet")
    assert (study.path / "SHEET.png").is_file()


def test_audit_of_a_model_of_the_pipeline_gives_its_results_image_by_image(study: Repository) -> None:
    study.run(
        *("python", "-m", "robustness_study.audit", "models/angular-clean-1", "models/cross_entropy-clean-1"),
        *("--images", "data/raw/test.npz", "--out", "both"),
    )
    for key in ("angular-clean-1", "cross_entropy-clean-1"):
        loss, _, rest = key.partition("-")
        found = {name: study.json(f"both/models/{key}/{name}.json") for name in ("evaluate", "attack", "stress")}
        cell = {name: study.json(f"reports/cells/{loss}/{rest}/{name}.json") for name in found}
        for of in ("test_clean", "test_corrupted"):
            one, other = (each["evaluate"]["details"][of]["predictions"] for each in (found, cell))
            assert one == other
        attacks, of_cell = found["attack"]["attacks"], cell["attack"]["attacks"]
        assert set(of_cell) - set(attacks) == {"knn_fgsm"} and "worst_case" in attacks
        for name, attacked in attacks.items():
            for part in ("positions", "predictions"):
                assert attacked[part] == of_cell[name][part]
        assert set(found["attack"]["alarms"]) == set(cell["attack"]["alarms"]) - {"knn_masked"}
        assert found["stress"]["predictions"] == cell["stress"]["predictions"]
        planes = [study.json(f"{path}/{key}/plane.json")["measures"] for path in ("both/models", "reports/planes")]
        assert planes[0] == planes[1]
    metrics = study.json("both/metrics.json")["angular-clean-1"]
    of_study = study.json("reports/comparison.json")["angular"]["clean_trained"]
    assert metrics["test_clean"] == of_study["test_clean"] and metrics["robust_2"] == of_study["robust_2"]
    study.run("rm", "-r", "both")


MY_MODEL = """
from safetensors.torch import load_file
from torch import nn


def load(weights):
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))
    model.load_state_dict(load_file(weights))
    return model
"""


def add_models(repository: Repository) -> None:
    """A person's model with its weights, and one as the pipeline saves it; neither has learned anything."""
    (repository.path / "my_model.py").write_text(MY_MODEL, encoding="utf-8")
    save_file({"2.weight": torch.randn(10, 48), "2.bias": torch.zeros(10)}, repository.path / "my.safetensors")
    network = networks.make("resnet18", "imagenet", 32)
    # The head of `angular` has no gradient before it was trained.
    loss = losses.make("cross_entropy", params.read(repository.path / "params.yaml")["loss_config"]["cross_entropy"])
    model = storage.build(network, loss, 10, [0.5] * 3, [0.25] * 3)
    folder = repository.path / "models/angular-clean-0"
    notes = {"model": folder.name, "environment": {"precision": "float32"}}
    storage.save(folder, model, network, loss, list(cifar10_1.CLASSES), notes)


def test_another_archive_is_unofficial_and_another_natural_set_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive has as many images as CIFAR-10, each of one grey."""
    repository = Repository(tmp_path / "repository")
    workspace.create(repository.path, {"download.dataset": "cifar10"})
    with tarfile.open(repository.path / "my_archive.tar.gz", "w:gz", compresslevel=1) as archive:
        records = np.repeat(np.arange(10_000, dtype=np.uint16)[:, None] % 256, 3073, axis=1).astype(np.uint8)
        records[:, 0] = np.arange(10_000) % 10
        classes = "".join(f"{name}\n" for name in cifar10_1.CLASSES).encode()
        content = {BINARY.names: classes} | dict.fromkeys(BINARY.batches, records.tobytes())
        for name, data in content.items():
            info = tarfile.TarInfo(f"{BINARY.folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    printed = repository.typed("CIFAR10_ARCHIVE=my_archive.tar.gz dvc repro -f download")
    assert ran(printed) == {"check", "download"}
    assert repository.json("data/raw/source.json")["official"] is False
    # The same images from a folder of either release are the same to DVC.
    before = (repository.path / "dvc.lock").read_bytes()
    unpack(repository.path / BINARY.folder, content)
    pickles = dict.fromkeys(BATCHES, batch_pickle(records[:, 0], records[:, 1:].copy()))
    unpack(repository.path / PYTHON.folder, pickles | {PYTHON.names: names_pickle(cifar10_1.CLASSES)})
    for release in (BINARY, PYTHON):
        monkeypatch.setenv("CIFAR10_ARCHIVE", release.folder)
        shutil.rmtree(repository.path / "data/raw")
        assert ran(repository.dvc("repro", "-f", "download")) == {"check", "download"}
        assert (repository.path / "dvc.lock").read_bytes() == before
    monkeypatch.delenv("CIFAR10_ARCHIVE")
    (repository.path / "my_files").mkdir()
    (repository.path / "my_files/cifar10.1_v6_data.npy").write_bytes(b"no images")
    workspace.change_params(repository.path / "params.yaml", {"natural": ["cifar10_1"]})
    printed = repository.typed("NATURAL_FOLDER=my_files dvc repro natural", fails=True)
    assert ran(printed) == {"check", "natural"}
    assert "error: my_files/cifar10.1_v6_data.npy has SHA-256 " in printed
    # These images are also good enough to audit models on.
    repository.run("git", "checkout", "params.yaml")
    workspace.change_params(repository.path / "params.yaml", FEW)
    add_models(repository)
    monkeypatch.setenv("CIFAR10_ARCHIVE", "my_archive.tar.gz")
    printed = repository.typed(
        "python -m robustness_study.audit my_model.py:load --weights my.safetensors --images cifar10 --out audit/"
    )
    assert "open audit/report.html in a browser" in printed and (repository.path / "audit/model-card.md").is_file()
    monkeypatch.setenv("CIFAR10_ARCHIVE", PYTHON.folder)  # docs/audit.md: an archive or a folder
    repository.typed(
        "python -m robustness_study.audit my_model.py:load models/angular-clean-0 --weights my.safetensors - "
        "--images cifar10 --out both/"
    )
    assert "angular-clean-0 − my, tested on clean images" in (repository.path / "both/report.md").read_text()


def test_without_a_natural_set_there_is_nothing_to_get(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    workspace.create(repository.path, {"download.dataset": "digits", "download.size": 16})
    printed = repository.typed("dvc exp run -S 'natural=[cifar10_1]'", fails=True)
    assert "error: params.yaml: natural has 'cifar10_1', which needs the classes of cifar10, but" in printed
    repository.run("git", "checkout", "-q", "params.yaml")
    assert ran(repository.dvc("repro", "natural")) == {"check", "download", "natural"}
    assert [path.name for path in (repository.path / "data/natural").iterdir()] == ["sets.json"]
    assert not ran(repository.dvc("repro", "natural"))
