"""The stage `check`: a valid params.yaml gives one constant marker; a mistake gives an error of one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from changed_params import ABSENT, COMMITTED, REPOSITORY, changed
from dvc.utils.serialize import parse_yaml

from robustness_study import datasets, losses, stage_code, training_sets
from robustness_study.check import check
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from stages import check as stage

LOSSES = ", ".join(losses.names())
NO_LOSS = f"which does not exist; choose one of {LOSSES}"
EPSILONS = "attack.epsilons_255"
NEIGHBOURS = "attack.attacks.nearest_neighbours"
RISING = "it must hold rising whole numbers from 0 to at most 255"


def test_committed_file_is_valid_and_is_what_dvc_reads() -> None:
    values = params.read(COMMITTED)
    check(values)
    assert values == parse_yaml(COMMITTED.read_text(encoding="utf-8"), COMMITTED)


# Each message begins with the key and its value, then says what is allowed.
BAD: dict[str, tuple[str, Any, str]] = {
    "unknown section": ("atack", {}, "atack is unknown; check the spelling or remove it (keys are attack, corrupt,"),
    "unknown key": ("attack.epsilon", 8, "attack.epsilon is unknown"),
    "unknown deep key": ("corrupt.mix.rotation.degrees", 5.0, "corrupt.mix.rotation.degrees is unknown"),
    "unknown key of a recipe": ("recipes.cpu.lr", 0.1, "recipes.cpu.lr is unknown"),
    "unknown key of a loss": ("loss_config.angular.margin", 0.1, "loss_config.angular.margin is unknown"),
    "unknown corruption": (
        "suite.corruptions",
        ["fog", "smoke"],
        "suite.corruptions has 'smoke', which does not exist; choose one of gaussian_noise, shot_noise,",
    ),
    "none of the fifteen": (
        "suite.corruptions",
        ["speckle_noise"],
        "suite.corruptions is ['speckle_noise']; add at least one of CIFAR-10-C's 15: gaussian_noise, shot_noise,",
    ),
    "repeated corruption": (
        "suite.corruptions",
        ["fog", "fog"],
        "suite.corruptions is ['fog', 'fog']: fog is listed more than once; list each only once",
    ),
    "missing section": ("embed", ABSENT, "embed is missing"),
    "missing top value": ("recipe", ABSENT, "recipe is missing"),
    "missing key": ("recipes.cpu.epochs", ABSENT, "recipes.cpu.epochs is missing"),
    "missing deep key": ("corrupt.mix.rotation", ABSENT, "corrupt.mix.rotation is missing"),
    "empty section": ("split", None, "split is None: input should be a valid dictionary"),
    "text for a whole number": ("recipes.cpu.epochs", "16", "recipes.cpu.epochs is '16': input should be a valid int"),
    "fraction for a whole number": ("recipes.cpu.epochs", 16.0, "recipes.cpu.epochs is 16.0: input should be a valid"),
    "truth for a whole number": ("recipes.cpu.epochs", True, "recipes.cpu.epochs is True: input should be a valid int"),
    "text for a number": ("split.train_share", "0.2", "split.train_share is '0.2': input should be a valid number"),
    "number for a truth": ("recipes.cpu.compile", 1, "recipes.cpu.compile is 1: input should be a valid boolean"),
    "share above 1": ("split.train_share", 1.5, "split.train_share is 1.5: input should be less than 1"),
    "share of 0": ("split.train_share", 0.0, "split.train_share is 0.0: input should be greater than 0"),
    "no evidence": (
        "recipes.cpu.evidence_share",
        0.0,
        "recipes.cpu.evidence_share is 0.0: input should be greater than",
    ),
    "more evidence than there is": (
        "recipes.cpu.evidence_share",
        1.5,
        "recipes.cpu.evidence_share is 1.5: input should",
    ),
    "share no number": ("split.train_share", float("nan"), "split.train_share is nan: input should be"),
    "hue above half": (
        "corrupt.mix.color_jitter.hue",
        0.6,
        "corrupt.mix.color_jitter.hue is 0.6: input should be less than or equal to 0.5",
    ),
    "unknown dataset": (
        "download.dataset",
        "mnist",
        f"download.dataset is 'mnist', which does not exist; choose one of {', '.join(datasets.names())}",
    ),
    "unknown natural set": (
        "natural",
        ["cifar10_2"],
        "natural has 'cifar10_2', which does not exist; choose one of cif",
    ),
    "natural set twice": (
        "natural",
        ["cifar10_1", "cifar10_1"],
        "natural is ['cifar10_1', 'cifar10_1']: cifar10_1 is ",
    ),
    "natural set as a text": ("natural", "cifar10_1", "natural is 'cifar10_1': input should be a valid list"),
    "missing natural sets": ("natural", ABSENT, "natural is missing; add it"),
    "unknown metric": ("embed.metric", "l1", "embed.metric is 'l1': input should be 'cosine' or 'euclidean'"),
    "negative section seed": ("attack.seed", -1, "attack.seed is -1: input should be greater than or equal to 0"),
    "no penalty": ("evaluate.probe_inverse_penalty", 0.0, "evaluate.probe_inverse_penalty is 0.0: input should be gr"),
    "missing penalty": ("evaluate.probe_inverse_penalty", ABSENT, "evaluate.probe_inverse_penalty is missing"),
    "temperature of 0": (
        f"{NEIGHBOURS}.temperature",
        0.0,
        f"{NEIGHBOURS}.temperature is 0.0: input should be greater than or equal to 0.001",
    ),
    "missing temperature": (f"{NEIGHBOURS}.temperature", ABSENT, f"{NEIGHBOURS}.temperature is missing"),
    "no steps": ("attack.attacks.pgd.steps", 0, "attack.attacks.pgd.steps is 0: input should be greater than or equ"),
    "no attacks": ("attack.attacks", ABSENT, "attack.attacks is missing"),
    "one plane": ("stability.seeds", [0], "stability.seeds is [0]: list should have at least 2 items"),
    "the same plane twice": (
        "stability.seeds",
        [0, 1, 0],
        "stability.seeds is [0, 1, 0]: list each seed only once, because equal seeds give equal planes",
    ),
    "epsilons not rising": (EPSILONS, [0, 2, 1, 4, 8], f"{EPSILONS} is [0, 2, 1, 4, 8]: {RISING}"),
    "epsilon twice": (EPSILONS, [0, 1, 1, 2, 4, 8], f"{EPSILONS} is [0, 1, 1, 2, 4, 8]: {RISING}"),
    "no epsilon 0": (EPSILONS, [1, 2, 4, 8], f"{EPSILONS} is [1, 2, 4, 8]: {RISING}"),
    "epsilon 256": (EPSILONS, [0, 1, 2, 4, 8, 256], f"{EPSILONS} is [0, 1, 2, 4, 8, 256]: {RISING}"),
    "no epsilon 4": (EPSILONS, [0, 1, 2, 8], f"{EPSILONS} is [0, 1, 2, 8]: add 4; reports/metrics.json"),
    "no epsilons": (EPSILONS, [], f"{EPSILONS} is []: list should have at least 1 item"),
    "no losses": ("losses", [], "losses is []; it must be a list with at least one loss"),
    "losses no list": ("losses", "angular", "losses is 'angular'; it must be a list with at least one loss"),
    "no train sets": ("train_sets", [], "train_sets is []: list should have at least 1 item"),
    "no seeds": ("seeds", [], "seeds is []: list should have at least 1 item"),
    "seeds no list": ("seeds", 0, "seeds is 0: input should be a valid list"),
    "text for a seed": ("seeds", [0, "1"], "seeds.1 is '1': input should be a valid integer"),
    "negative seed": ("seeds", [0, -1], "seeds.1 is -1: input should be greater than or equal to 0"),
    "seed too large for a file's name": (
        "seeds",
        [2**63],
        "seeds.0 is 9223372036854775808: input should be less than 9",
    ),
    "plane's seed too large": ("stability.seeds", [0, 2**63], "stability.seeds.1 is 9223372036854775808: input should"),
    "more neighbours than numpy counts": (
        "evaluate.knn_neighbours",
        2**70,
        "evaluate.knn_neighbours is 1180591620717411303424: input should be less than or equal to 1000000000",
    ),
    "penalty too small to fit": (
        "evaluate.probe_inverse_penalty",
        5e-324,
        "evaluate.probe_inverse_penalty is 5e-324: ",
    ),
    "angle without a finite tangent": (
        "loss_config.angular.alpha_degrees",
        89.99999999999999,
        "loss_config.angular.alpha_degrees is 89.99999999999999: input should be less than or equal to 80",
    ),
    "weight that overflows": (
        "loss_config.angular.angular_weight",
        1e308,
        "loss_config.angular.angular_weight is 1e+308",
    ),
    "temperature that overflows": (
        "loss_config.angular.temperature",
        5e-324,
        "loss_config.angular.temperature is 5e-324",
    ),
    "scale that overflows": (
        "loss_config.sphereface.scale",
        1e308,
        "loss_config.sphereface.scale is 1e+308: input sho",
    ),
    "factor that overflows": (
        "attack.attacks.rescaled_logits.factors",
        [0.1, 1e308],
        "attack.attacks.rescaled_logits.factors is [0.1, 1e+308]: factors must be from 0.001 to 1000, not 1, and all",
    ),
    "square wider than the image": (
        "recipes.cpu.cutout_pixels",
        33,
        "recipes.cpu.cutout_pixels is 33, but images (download.size) are 32 pixels wide; set it to at most 32",
    ),
    "decay that makes weights grow": (
        "recipes.cpu",
        params.read(COMMITTED)["recipes"]["cpu"] | {"peak_learning_rate": 10.0, "weight_decay": 0.1},
        "recipes.cpu.peak_learning_rate is 10.0 and weight_decay is 0.1; lower one, because with a product of 1",
    ),
    "example that is not attacked": (
        "attack.example_epsilon_255",
        3,
        "attack.example_epsilon_255 is 3: it must be one of attack.epsilons_255, [0, 1, 2, 4, 8, 16]",
    ),
    "repeated seed": ("seeds", [0, 1, 0], "seeds is [0, 1, 0]: 0 is listed more than once; list each only once"),
    "repeated train set": (
        "train_sets",
        ["clean", "corrupted", "clean"],
        "train_sets is ['clean', 'corrupted', 'clean']: clean is listed more than once; list each only once",
    ),
    "repeated loss": (
        "losses",
        ["angular", "cross_entropy", "angular"],
        "losses is ['angular', 'cross_entropy', 'angular']: angular is listed more than once; list each only once",
    ),
    "hyphen in a train set": (
        "train_sets",
        ["clean", "my-set"],
        "train_sets is ['clean', 'my-set']: 'my-set' must start with a lower-case letter, then only a to z, 0 to 9 and",
    ),
    "hyphen in a loss": ("losses", ["cross-entropy"], f"losses has 'cross-entropy', {NO_LOSS}"),
    "corruption that is not there": (
        "corrupt.before",
        [{"corruption": "smoke", "severity": 3, "probability": 0.5}],
        "corrupt.before has 'smoke', which does not exist; choose one of gaussian_noise,",
    ),
    "unknown train set": (
        "train_sets",
        ["clean", "noisy"],
        f"train_sets has 'noisy', which does not exist; choose one of {', '.join(training_sets.names())}",
    ),
    "train set without its block": (
        "train_set_config.corrupted",
        ABSENT,
        "train_set_config.corrupted is missing; add it, with its settings or as {} if it has none",
    ),
    "block of an unknown train set": ("train_set_config.noisy", {}, "train_set_config.noisy is unknown; rename or re"),
    "train set out of range": (
        "train_set_config.augmix.severity",
        11.0,
        "train_set_config.augmix.severity is 11.0: input should be less than or equal to 10",
    ),
    "no blocks of train sets": ("train_set_config", None, "train_set_config is None; it must have a block for each"),
    "unknown loss": ("loss", "nonsense", f"loss is 'nonsense', {NO_LOSS}"),
    "loss no text": ("loss", None, f"loss is None, {NO_LOSS}"),
    "unknown loss in losses": ("losses", ["angular", 3], f"losses has 3, {NO_LOSS}"),
    "loss without its block": ("loss_config.angular", ABSENT, "loss_config.angular is missing; add it"),
    "loss with an empty block": ("loss_config.angular", None, "loss_config.angular is None: input should be a valid d"),
    "block of an unknown loss": (
        "loss_config.nonsense",
        {},
        f"loss_config.nonsense is unknown; rename or remove it (known are {LOSSES})",
    ),
    "no blocks of losses": ("loss_config", None, "loss_config is None; it must have a block for each of cross_"),
    "loss out of range": (
        "loss_config.cross_entropy.label_smoothing",
        1.0,
        "loss_config.cross_entropy.label_smoothing is 1.0: input should be less than 1",
    ),
    "infinite number": ("loss_config.angular.temperature", float("inf"), "loss_config.angular.temperature is inf: "),
    "size that is not the dataset's": ("download.size", 64, "download.size is 64, but cifar10 images are 32 pixels"),
    "no folder of images": (
        "download",
        {"dataset": "folder", "folder": None, "background": "white", "size": 32},
        "download.folder is None; set it to the folder of your images, with the layout FOLDER/{train,test}/CLASS/",
    ),
    "recipe's name no text": ("recipes", {2024: {}}, "recipes has the name 2024; use only lower-case letters"),
    "recipe's name dotted": ("recipes", {"a.b": {}}, "recipes has the name 'a.b'; use only lower-case letters"),
    "unknown recipe": ("recipe", "nonsense", "recipe is 'nonsense', which is not in recipes; choose one of cpu"),
    "recipe no text": ("recipe", 3, "recipe is 3: input should be a valid string"),
    "no recipes": ("recipes", None, "recipes is None; it must have a block for each recipe"),
    "recipe that is not chosen": ("recipes.other", {}, "recipes.other.network is missing (add it); recipes.oth"),
}


@pytest.mark.parametrize(("key", "value", "message"), BAD.values(), ids=BAD)
def test_bad_value_is_named_with_what_is_allowed(key: str, value: Any, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        check(changed(("losses", ["cross_entropy", "angular"]), (key, value)))
    assert str(caught.value).startswith(f"params.yaml: {message}")
    assert "\n" not in str(caught.value)


def test_padding_as_large_as_the_image_is_refused() -> None:
    with pytest.raises(
        StudyError, match=r"recipes.cpu.crop_padding is 8, but images .* are 8 pixels wide; set it to at most 7"
    ):
        check(changed(("download.dataset", "digits"), ("download.size", 8), ("recipes.cpu.crop_padding", 8)))


def test_error_for_loss_outside_losses_names_the_command() -> None:
    with pytest.raises(StudyError) as caught:
        check(changed(("loss", "angular"), ("losses", ["cross_entropy"])))
    assert str(caught.value) == (
        "params.yaml: loss is 'angular', which exists but is not in losses ['cross_entropy']; "
        "add it: -S loss=angular -S 'losses=[cross_entropy,angular]'"
    )


@pytest.mark.parametrize(
    "changes",
    [
        [("loss", "angular"), ("losses", ["angular"])],
        [("loss", "cross_entropy"), ("losses", ["cross_entropy"]), ("loss_config.angular", ABSENT)],
        [("train_sets", ["corrupted"]), ("seeds", [2, 0, 1])],
        [("attack.epsilons_255", [0, 1, 2, 3, 4, 8, 255])],
        [("attack.accept", ["knn_masked", "zero_gradients"]), ("stability.seeds", [3, 1])],
        [("loss_config.cross_entropy.label_smoothing", 0)],  # a whole number where fractions are allowed
    ],
)
def test_other_good_values_pass(changes: list[tuple[str, Any]]) -> None:
    check(changed(*changes))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E2", 500.0),
        (".5", 0.5),
        ("0o17", 15),
        ("017", 17),
        ("yes", "yes"),
        ("on", "on"),
        ("~", None),
    ],
)
def test_scalars_are_read_as_yaml_1_2_as_dvc_reads_them(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {text}\n")
    (read,) = params.read(path).values()
    assert (read, type(read)) == (value, type(value))
    assert parse_yaml(path.read_text(), path)["a"] == value


def test_number_with_an_exponent_and_no_point_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text, count = re.subn(r"weight_decay: \S+", "weight_decay: 1e-3", COMMITTED.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    values = params.read(path)
    check(values)
    assert count >= 1 and values["recipes"]["cpu"]["weight_decay"] == 0.001


@pytest.mark.parametrize("name", ["2024", "007", "1e3", "0x10", "1.10", "2024-11-27", "true", "my_images", "a: b"])
def test_a_folder_is_called_what_is_written_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / "params.yaml"
    written = f"'{name}'" if ": " in name else name
    path.write_text(f"download:\n  folder: {written} # a comment\n")
    assert params.read(path) == {"download": {"folder": name}}


@pytest.mark.parametrize("written", ["", "null", "[a]"])
def test_no_folder_stays_no_folder(tmp_path: Path, written: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"download:\n  folder: {written}\n")
    assert params.read(path) == {"download": {"folder": ["a"] if written == "[a]" else None}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"split: [", "is not valid YAML; .* line 1, column"),
        (b"split:\n\t- 1\n", "is not valid YAML; .* line 2, column 1"),
        (b"seeds: [0]\nseeds: [1]\n", 'is not valid YAML; .*duplicate key "seeds"'),
        (b"loss: \xff\xff\n", "is not valid YAML; "),
        (b"loss: " + b"[" * 5000, "is not valid YAML; .*recursion"),
        (b"loss: 2001-13-01\n", "is not valid YAML; .*month must be in 1..12"),
        (b"loss: !!int x\n", "is not valid YAML; .*invalid literal"),
        (b"loss: !!bool maybe\n", "is not valid YAML; .*maybe"),
        (b'loss: "\\UFFFFFFFF"\n', "is not valid YAML; .*too large"),
        (b"loss: " + b"9" * 5000, "is not valid YAML; .*digits"),
        (b"loss: !!python/name:os.system x\n", "is not valid YAML; "),
        (b"seeds: [" + b"9" * 5000 + b"]\n", "is not valid YAML; .*Exceeds the limit"),
        (b"", "must hold keys with values"),
        (b"- loss\n", "must hold keys with values"),
    ],
)
def test_error_for_broken_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=message) as caught:
        params.read(path)
    assert "params.yaml" in str(caught.value) and "\n" not in str(caught.value)


# --- the stage ---------------------------------------------------------------------------------------------


def python(top: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=top,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(changed(("attack.epsilon", 8))), "error: params.yaml: attack.epsilon is unknown"),
        (json.dumps(changed(("loss", "nonsense"))), "error: params.yaml: loss is 'nonsense', which does not exist"),
        ("split: [", "error: params.yaml is not valid YAML; "),
        (None, "error: params.yaml does not exist here; run the command from the top folder"),
    ],
    ids=["unknown key", "unknown loss", "broken", "absent"],
)
def test_failing_stage_prints_one_line_and_leaves_nothing(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "params.yaml").write_text(content)
    before = set(tmp_path.iterdir())
    done = python(tmp_path, "-m", "stages.check")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith(message)
    assert set(tmp_path.iterdir()) - {tmp_path / ".locks"} == before


def test_good_file_leaves_the_digests_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(COMMITTED.read_bytes())
    done = python(tmp_path, "-m", "stages.check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["code", "network.json"]
    assert sorted(path.stem for path in (tmp_path / "data/code").iterdir()) == sorted({*stage_code.names()} - {"check"})


def test_what_later_stages_depend_on_is_the_same_for_every_good_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = set()
    for changes in ([], [("seeds", [5, 6])], [("split.train_share", 0.5), ("train_sets", ["clean"])]):
        Path("params.yaml").write_text(json.dumps(changed(*changes)))
        stage.main()
        found.add(tuple(path.read_bytes() for path in sorted(Path("data").rglob("*.*"))))
    assert len(found) == 1 and len(found.pop()) > 15


def test_checking_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(COMMITTED.read_bytes())
    code = (
        "import sys; from stages import check; check.main(); print(sorted({'torch', 'torchvision'} & set(sys.modules)))"
    )
    done = python(tmp_path, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
