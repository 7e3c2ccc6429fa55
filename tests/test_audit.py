"""The audit of a model that was trained elsewhere, from the command to every file that it writes.

The images are the digits at 12 pixels, with few corruptions; the models are fitted here, without the pipeline.
"""

from __future__ import annotations

import copy
import html
import json
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from robustness_study.attacks import one_model
from robustness_study.audit import whole
from robustness_study.audit.__main__ import arguments, main
from robustness_study.audit.settings import settings_of
from robustness_study.core import params
from robustness_study.core.array_text import from_text
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_record
from robustness_study.core.imports import ROOT
from robustness_study.datasets.digits import enlarged_digits
from robustness_study.evaluation import score, stress
from robustness_study.results.metrics import BESIDE, METRICS

SIDE = 12
DIGITS = enlarged_digits(SIDE)
COUNT = len(DIGITS.test_labels)
VALUES = params.read(ROOT / "params.yaml")
SMALL: dict[str, Any] = {
    "suite": {"corruptions": ["gaussian_noise", "fog"], "images": 60},
    "evaluate": {"batch_size": 100},
    "embed": {"images": 80},
    "attack": {
        "images": 80,
        "control_images": 30,
        "attacks": {
            "random_signs": {},
            "pgd": {"images": 20, "epsilons_255": [4], "large_epsilon_255": 128, "steps": 4, "restarts": 1},
            "apgd": {
                "images": 40,
                "epsilons_255": [2, 4],
                "steps": 5,
                "targets": 2,
                "restarts": 1,
                "control_epsilon_255": 2,
            },
            "nearest_neighbours": {"temperature": 0.05, "control_epsilons_255": [1]},
        },
    },
}
MODULE = """
import torch
from safetensors.torch import load_file
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(432, 16)
        self.last = nn.Linear(16, 10)

    def forward(self, images):
        return self.last(self.body(images.flatten(1)))


def load(weights):
    net = Net()
    net.load_state_dict(load_file(weights))
    return net


def wants_normalised(weights):
    net = load(weights)
    return nn.Sequential(Undo(), net)


class Undo(nn.Module):
    def forward(self, images):
        return images * 0.25 + 0.5


def eleven(weights):
    return nn.Sequential(load(weights), More())


class More(nn.Module):
    def forward(self, logits):
        return torch.cat([logits[:, :1], logits[:, :1] - 1, logits[:, 1:]], 1)


def cubed(weights):
    return nn.Sequential(load(weights), Cubed())


class Cubed(nn.Module):
    def forward(self, logits):
        return logits**3


def by_keyword(weights):
    net = load(weights)
    net.unused = nn.Linear(3, 3)
    net.forward = lambda images: net.last(input=net.body(images.flatten(1)))
    return net


def no_features(weights):
    return Bare(load(weights))


class Bare(nn.Module):
    def __init__(self, net):
        super().__init__()
        matrix = net.last.weight @ net.body.weight
        self.kernel = nn.Parameter(matrix.detach().reshape(10, 3, 12, 12).contiguous())
        self.bias = nn.Parameter((net.last.weight @ net.body.bias + net.last.bias).detach())

    def forward(self, images):
        return nn.functional.conv2d(images, self.kernel, self.bias).flatten(1)
"""


def fitted(penalty: float) -> dict[str, torch.Tensor]:
    """Weights of a linear model of the digits, in two layers: 16 features, then the classes."""
    flat = DIGITS.train_images.transpose(0, 3, 1, 2).reshape(len(DIGITS.train_labels), -1) / 255
    found = LogisticRegression(C=penalty, max_iter=300).fit(flat, DIGITS.train_labels)
    left, sizes, right = np.linalg.svd(found.coef_, full_matrices=False)  # 10 classes: rank 10
    body, last = np.zeros((16, flat.shape[1])), np.zeros((10, 16))
    body[:10], last[:, :10] = sizes[:, None] * right, left
    made = {"body.weight": body, "body.bias": np.zeros(16), "last.weight": last, "last.bias": found.intercept_}
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in made.items()}


WEIGHTS = {"plain": fitted(0.1), "strict": fitted(0.001)}


def write_inputs(top: Path) -> None:
    """params.yaml and a person's files."""
    values = copy.deepcopy(VALUES)
    for name, changes in SMALL.items():
        values[name] |= copy.deepcopy(changes)
    YAML(typ="safe").dump(values, top / "params.yaml")
    (top / "mine.py").write_text(MODULE, encoding="utf-8")
    for name, tensors in WEIGHTS.items():
        save_file(tensors, top / f"{name}.safetensors")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with these files; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def whole_audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that an audit of one model wrote."""
    top = tmp_path_factory.mktemp("audited")
    write_inputs(top)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(top)
        audited(patch, *ONE)
    return top / "out"


@pytest.fixture
def done(folder: Path, whole_audit: Path) -> Path:
    """A copy of it in the working folder."""
    shutil.copytree(whole_audit, folder / "out")
    return folder / "out"


def audited(monkeypatch: pytest.MonkeyPatch, *typed: str, out: str = "out", size: int = SIDE) -> None:
    """Run the command with what was typed, and the digits."""
    given = [*typed, "--images", "digits", "--size", str(size), "--out", out]
    monkeypatch.setattr(sys, "argv", ["audit", *given])
    main()


ONE = ("mine.py:load", "--weights", "plain.safetensors")
TWO = ("mine.py:load", "mine.py:load", "--weights", "plain.safetensors", "strict.safetensors")


def every_file(top: Path) -> dict[str, bytes]:
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_everything_is_written(done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (done / "report.html").unlink()
    audited(monkeypatch, *ONE)
    said = capsys.readouterr().out
    assert "under every attack, ε = 2/255 (n = 40)" in said and "open out/report.html in a browser" in said
    wanted = {"report.html", "report.md", "metrics.json", "model-card.md", "figures/suite.png", "tables/summary.csv"}
    of_model = {"evaluate.json", "attack.json", "stress.json", "plane.json", "plane.png", "examples.png"}
    assert wanted | {f"models/plain/{name}" for name in of_model} <= set(every_file(done))
    assert not list(done.glob("models/plain/*parts*"))


def test_metrics_have_the_names_of_the_pipeline(done: Path) -> None:
    (found,) = json.loads(Path("out/metrics.json").read_text()).values()
    assert set(found) - {"robust_4"} <= {metric.name for metric in (*METRICS, *BESIDE)}
    attack = read_record("out/models/plain/attack.json")
    worst = attack["attacks"]["worst_case"]
    labels = from_text(attack["labels"])[from_text(worst["positions"])]
    for epsilon in (2, 4):
        share = float((from_text(worst["predictions"][str(epsilon)]) == labels).mean())
        assert found[f"robust_{epsilon}"] == share
    # Nobody knows the training and the validation images of such a model.
    for name in (
        "train_clean",
        "val_clean",
        "generalisation_gap",
        "knn_test_clean",
        "temperature",
        "suite_unseen_mean",
    ):
        assert name not in found
    assert "knn_fgsm" not in attack["attacks"]


def test_predictions_are_those_of_the_model(done: Path) -> None:
    flat = torch.from_numpy(DIGITS.test_images).permute(0, 3, 1, 2).flatten(1).float() / 255
    w = WEIGHTS["plain"]
    logits = (flat @ w["body.weight"].T) @ w["last.weight"].T + w["last.bias"]
    record = read_record("out/models/plain/evaluate.json")
    assert (from_text(record["details"]["test_clean"]["predictions"]) == logits.argmax(1).numpy()).all()
    assert record["sets"][0]["accuracy"] > 0.9


def test_a_second_run_does_nothing_again_and_gives_the_same_bytes(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = every_file(done)
    for module, name in ((score, "evaluate"), (one_model, "run_one"), (stress, "score")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("a part was done again"))
    audited(monkeypatch, *ONE)
    assert every_file(done) == first


class Stopped(BaseException):
    """A stop, such as Ctrl-C."""


class Watched:
    """A function that is called with something that has a name: keeps the names, and stops at one of them."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.names, self.last = function, list[str](), ""

    def __call__(self, first: Any, named: Any, *others: Any) -> Any:
        name = getattr(named, "name", named)
        if name == self.last:
            raise Stopped
        self.names.append(name)
        return self.function(first, named, *others)


@pytest.mark.parametrize("attack", ["fast_gradient_sign", "apgd"])
def test_a_stopped_audit_goes_on_and_ends_with_the_same_bytes(
    folder: Path, whole_audit: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    attacks, corruptions = Watched(one_model.run_one), Watched(stress.score)
    monkeypatch.setattr(one_model, "run_one", attacks)
    monkeypatch.setattr(stress, "score", corruptions)
    for attacks.last, corruptions.last in ((attack, ""), ("", "fog")):
        with pytest.raises(Stopped):
            audited(monkeypatch, *ONE)
    attacks.last = corruptions.last = ""
    audited(monkeypatch, *ONE)
    assert attacks.names == ["fast_gradient_sign", "random_signs", "pgd", "apgd"]
    assert corruptions.names == ["clean", "gaussian_noise", "fog"]
    assert every_file(folder / "out") == every_file(whole_audit)


@pytest.mark.parametrize("damaged", ["attack.json", "attacked.npz", "evaluated.npz", "stress.json", "embedded.npz"])
def test_what_was_damaged_is_made_again(done: Path, monkeypatch: pytest.MonkeyPatch, damaged: str) -> None:
    first = every_file(done)
    path = done / "models/plain" / damaged
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    audited(monkeypatch, *ONE)
    assert every_file(done) == first


def test_other_weights_other_code_and_other_settings_are_done_again(
    done: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads(Path("out/metrics.json").read_text())["plain"]
    save_file(WEIGHTS["strict"], folder / "plain.safetensors")
    audited(monkeypatch, *ONE)
    second = json.loads(Path("out/metrics.json").read_text())["plain"]
    assert first["calibration_error_clean"] != second["calibration_error_clean"]
    source = Path("mine.py").read_text()
    Path("mine.py").write_text(source.replace("return self.last(", "return 2 * self.last("))
    audited(monkeypatch, *ONE)
    third = json.loads(Path("out/metrics.json").read_text())["plain"]
    assert second["test_clean"] == third["test_clean"]
    assert second["calibration_error_clean"] != third["calibration_error_clean"]
    text = Path("params.yaml").read_text()
    assert "images: 60" in text
    Path("params.yaml").write_text(text.replace("images: 60", "images: 50"))
    audited(monkeypatch, *ONE)
    assert read_record("out/models/plain/stress.json")["images"] == 50


def test_another_function_of_the_file_and_another_helper_are_another_model(
    done: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error() -> float:
        return float(json.loads(Path("out/metrics.json").read_text())["plain"]["calibration_error_clean"])

    first = error()
    audited(monkeypatch, "mine.py:cubed", "--weights", "plain.safetensors")
    second = error()
    assert first != second
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    for place, factor in (("a", 1), ("b", 2)):
        own = "from mine import load as plain\nfrom scaling import scaled\n\n\n"
        own += "def load(weights):\n    return scaled(plain(weights))\n"
        (folder / place / "model.py").write_text(own)
        shutil.copy("mine.py", folder / place / "mine.py")
        (folder / place / "scaling.py").write_text(
            "from torch import nn\n\n\nclass Scaled(nn.Sequential):\n    def forward(self, images):\n"
            f"        return {factor} * super().forward(images)\n\n\ndef scaled(net):\n    return Scaled(net)\n"
        )
    both = ("a/model.py:load", "b/model.py:load", "--weights", "plain.safetensors", "plain.safetensors")
    audited(monkeypatch, *both, "--names", "one", "two")
    found = {
        name: each["calibration_error_clean"] for name, each in json.loads(Path("out/metrics.json").read_text()).items()
    }
    assert found["one"] == first and found["two"] != first
    text = Path("b/scaling.py").read_text()
    Path("b/scaling.py").write_text(text.replace("return 2 *", "return 3 *"))
    audited(monkeypatch, *both, "--names", "one", "two")
    assert json.loads(Path("out/metrics.json").read_text())["two"]["calibration_error_clean"] != found["two"]


def test_a_model_in_one_file_is_audited(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = from_text(read_record("out/models/plain/attack.json")["attacks"]["fgsm"]["predictions"]["4"])
    net = Path("mine.py").read_text()
    scope: dict[str, Any] = {}
    exec(compile(net, "mine.py", "exec"), scope)
    model = scope["load"]("plain.safetensors").eval()
    given = torch.rand(4, 3, SIDE, SIDE)
    with warnings.catch_warnings():  # torch would rather have torch.export; people have such files
        warnings.simplefilter("ignore")
        torch.jit.trace(model, given).save("script.pt")
    count = torch.export.Dim("count", min=1)
    torch.export.save(torch.export.export(model, (given,), dynamic_shapes=({0: count},)), "exported.pt2")
    for name in ("script.pt", "exported.pt2"):
        audited(monkeypatch, name, out="one_file")
        found = read_record(f"one_file/models/{Path(name).stem}/attack.json")["attacks"]["fgsm"]["predictions"]["4"]
        assert (from_text(found) == wanted).all()
    torch.export.save(torch.export.export(model, (given,)), "fixed.pt2")
    with pytest.raises(StudyError, match="export it with dynamic_shapes"):
        audited(monkeypatch, "fixed.pt2", out="fixed")


def test_a_model_without_features_takes_the_place_of_one_with_them(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (done / "models/plain/plane.json").exists()
    audited(monkeypatch, "mine.py:no_features", "--weights", "plain.safetensors")
    assert not (done / "models/plain/plane.json").exists() and not (done / "models/plain/embedded.npz").exists()


def test_features_are_found_where_the_last_layer_is_called_by_keyword(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited(monkeypatch, "mine.py:by_keyword", "--weights", "plain.safetensors", out="keyword")
    one, other = (read_record(f"{out}/models/plain/plane.json") for out in ("out", "keyword"))
    assert one["measures"] == other["measures"] and one["dimensions"] == 16


def test_too_few_images_for_a_plane_cost_only_the_plane(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = np.concatenate([np.flatnonzero(DIGITS.test_labels == label)[:1] for label in range(10)])
    np.savez("few.npz", images=DIGITS.test_images[few], labels=DIGITS.test_labels[few])
    monkeypatch.setattr(sys, "argv", ["audit", *ONE, "--images", "few.npz", "--out", "out"])
    main()
    assert "plain: no UMAP plane: " in capsys.readouterr().out
    assert Path("out/report.html").is_file() and not Path("out/models/plain/plane.json").exists()


def test_two_models_are_compared_image_by_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited(monkeypatch, *TWO)
    text = Path("out/report.md").read_text()
    assert "strict − plain, tested on clean images" in text and "p (Holm, 5 differences)" in text
    both = [
        from_text(read_record(f"out/models/{name}/evaluate.json")["details"]["test_clean"]["predictions"])
        for name in ("plain", "strict")
    ]
    right = [predicted == DIGITS.test_labels for predicted in both]
    difference = 100 * (right[1].mean() - right[0].mean())
    row = next(line for line in text.splitlines() if "strict − plain, tested on clean images" in line)
    assert f"{difference:+.1f}".replace("-", "−") in row
    for name in ("plain", "strict"):
        assert f"# {name}\n" in Path(f"out/model-card-{name}.md").read_text()
    page = html.unescape(Path("out/report.html").read_text())
    assert "Comparison of the models" in page and "Each claim was written down" not in page


def test_model_card_has_the_form_of_the_hub_and_says_what_was_not_tested(done: Path) -> None:
    text = Path("out/model-card.md").read_text()
    _, head, body = text.split("---\n", 2)
    found = YAML(typ="safe").load(head)
    (entry,) = found["model-index"]
    (result,) = entry["results"]
    metrics = json.loads(Path("out/metrics.json").read_text())["plain"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["Accuracy, clean images"] == metrics["test_clean"]
    assert values["Accuracy under every attack, epsilon 2/255"] == metrics["robust_2"]
    assert f"on {COUNT} test images of digits (the official images)" in body
    assert "## What was not tested" in body and "no training images are known" in body
    assert "APGD, cross-entropy and targeted" in body and "on up to 40 images" in body


def test_page_shows_images_and_works_without_features(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited(monkeypatch, "mine.py:no_features", "--weights", "plain.safetensors")
    page = html.unescape(Path("out/report.html").read_text())
    assert "no model has features that could be seen" in page and not Path("out/models/plain/plane.json").exists()
    assert "`--features` named none" in Path("out/report.md").read_text()
    assert 'id="chart-curves"' not in page and "data:image/webp" in page
    assert re.search(r"(\d+) test images", page)


def test_a_model_may_have_more_classes_than_the_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["0", "none", *map(str, range(1, 10))]
    audited(monkeypatch, "mine.py:eleven", "--weights", "plain.safetensors", "--classes", *names)
    found = json.loads(Path("out/metrics.json").read_text())["plain"]
    per_class = read_record("out/models/plain/evaluate.json")["details"]["test_clean"]["per_class"]
    assert per_class["none"]["images"] == 0
    assert found["worst_recall_clean"] == min(each["recall"] for name, each in per_class.items() if name != "none") > 0
    assert "none" not in Path("out/tables/recall_per_class.csv").read_text()
    assert found["test_clean"] > 0.9


def test_normalised_images_are_given_to_a_model_that_wants_them(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    normalised = ("--mean", "0.5", "0.5", "0.5", "--std", "0.25", "0.25", "0.25")
    of_wrapped = ("mine.py:wants_normalised", "--weights", "plain.safetensors", *normalised)
    audited(monkeypatch, *of_wrapped, out="wrapped")
    one, other = (
        from_text(read_record(f"{out}/models/plain/attack.json")["attacks"]["fgsm"]["predictions"]["4"])
        for out in ("out", "wrapped")
    )
    assert (one == other).mean() > 0.95  # ε is measured on pixel values, whatever the model wants
    assert "mean [0.5, 0.5, 0.5]" in Path("wrapped/model-card.md").read_text()


def test_quick_uses_fewer_images_and_nothing_else() -> None:
    full, quick = (settings_of(VALUES, fast, (), 32).as_dict() for fast in (False, True))
    assert quick["suite"]["images"] == 150 and quick["attack"]["attacks"]["apgd"]["images"] == 150
    assert quick["test_images"] == 2000 and full["test_images"] is None
    for found in (full, quick):
        found["test_images"] = found["suite"]["images"] = found["embed"]["images"] = 0
        found["attack"]["images"] = found["attack"]["control_images"] = 0
        for block in found["attack"]["attacks"].values():
            block.pop("images", None)
    assert full == quick and "nearest_neighbours" not in full["attack"]["attacks"]


def test_batches_of_large_images_are_smaller() -> None:
    assert settings_of(VALUES, False, (), 224).evaluate.batch_size == 5
    assert settings_of(VALUES, False, (), 32).evaluate.batch_size == VALUES["evaluate"]["batch_size"]


# --- the command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["m.py:load"], "the following arguments are required: --images, --out"),
        (["a.pt", "b.pt", "--weights", "x"], "2 models but 1 --weights: give one for each model, in order"),
        (["a.pt", "--mean", "0", "0", "0"], "--mean and --std belong together"),
        (["a.pt", "--mean", "0", "0", "0", "--std", "1", "0", "1"], "--std must be above 0"),
        (["a.pt", "--size", "300"], "--size is 300; it must be 8 to 224"),
    ],
)
def test_wrong_argument_is_one_line(
    typed: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = [] if "required" in message else ["--images", "digits", "--out", "o"]
    monkeypatch.setattr(sys, "argv", ["audit", *typed, *needed])
    with pytest.raises(SystemExit) as ended:
        arguments()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_wrong_models_are_refused_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for typed, message in (
        (("mine.py:wants_normalised", "--weights", "plain.safetensors"), "plain: accuracy is .* in the wrong place"),
        ((*ONE, "--features", "head"), "--features head: the model has no module of this name"),
        ((*ONE, "--names", "../x"), "--names '../x': use letters, digits"),
        ((*TWO, "--names", "same", "same"), "--names: two models are called 'same'"),
        ((*ONE, "--natural", "cifar10_1"), "--natural cifar10_1: there is no such set for digits"),
        ((*ONE, "--params", "absent.yaml"), "absent.yaml does not exist here"),
        (
            ("models/angular-clean-0",),
            "models/angular-clean-0/model.json does not exist; train the model by `dvc repro`",
        ),
        *([] if torch.cuda.is_available() else [((*ONE, "--device", "cuda"), "--device is cuda, but torch")]),
    ):
        with pytest.raises(StudyError, match=message):
            audited(monkeypatch, *typed)
        assert not Path("out").exists()


def test_names_of_models() -> None:
    specs = ["a/mine.py:load", "mine.py:other", "timm/resnet18.a1", "x/net.pt2", "net.pt", "models/angular-clean-0"]
    assert whole.names_of(specs, [None] * 6) == ["mine", "other", "resnet18.a1", "net", "net-2", "angular-clean-0"]
    assert whole.names_of(["net-2.pt", "net.pt", "net.pt"], [None] * 3) == ["net-2", "net", "net-3"]
    assert whole.names_of(["resnet-large.pt", "resnet.pt"], [None] * 2) == ["resnet-large", "resnet"]
    assert whole.names_of(["m.py:load"] * 2, [Path("a/w 1.pth"), Path("b/w 1.pth")]) == ["w-1", "w-1-2"]
