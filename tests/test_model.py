"""The model, its files, and running it over images without training it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustness_study import losses
from robustness_study.classifier import storage
from robustness_study.classifier.inference import accuracy, all_features, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_record, write_record
from robustness_study.losses import Loss
from robustness_study.losses.head import Head
from robustness_study.networks import Network

CONFIGS = params.read(Path(__file__).resolve().parents[1] / "params.yaml")["loss_config"]
CPU = torch.device("cpu")
CLASSES = ["cat", "dog", "eel"]
NETWORK = Network("resnet18", "imagenet", 16)
MEAN, STD = [0.1, 0.45, 0.7], [0.2, 0.25, 0.3]


def some_images(count: int) -> Tensor:
    """Random uint8 images, N×16×16×3."""
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


def loss_named(name: str) -> Loss:
    return losses.make(name, CONFIGS[name])


def trained(name: str) -> Classifier:
    """A model as after training: changed buffers and a fitted head."""
    torch.manual_seed(0)
    model = storage.build(NETWORK, loss_named(name), len(CLASSES), MEAN, STD)
    with torch.no_grad():
        for _ in range(3):
            model.train().features(to_float(some_images(12)))
    images = some_images(12)
    model.head.fit(all_features(model, images, 12), torch.arange(12) % len(CLASSES))
    return model


# --- the network -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 8), ("half", 16), ("cifar", 32)])
def test_first_block_gets_the_size_named_in_the_docstring(stem: str, side: int) -> None:
    torch.manual_seed(0)
    network, seen = Network("resnet18", stem, 32).make_backbone()[0].eval(), list[torch.Size]()
    network.get_submodule("layer1").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        features = network(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 512)
    assert seen == [(2, 64, side, side)]


@pytest.mark.parametrize("stem", ["imagenet", "half", "cifar"])
@pytest.mark.parametrize("size", [8, 28])
def test_stem_accepts_images_of_other_sizes(stem: str, size: int) -> None:
    with torch.no_grad():
        backbone, width = Network("resnet18", stem, size).make_backbone()
        assert width == 512 and backbone.eval()(torch.rand(1, 3, size, size)).shape == (1, 512)


class Mean(Head):
    """Logits that show the input of the backbone."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def test_normalisation_is_inside_the_model() -> None:
    model = Classifier(nn.Identity(), Mean(), MEAN, STD, width=3)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1).expand(2, 3, 8, 8) for values in (MEAN, STD))
    assert torch.equal(model.features(mean), torch.zeros(2, 3, 8, 8))
    torch.testing.assert_close(model.features(mean + std), torch.ones(2, 3, 8, 8))
    expected = torch.tensor([[(1 - m) / s for m, s in zip(MEAN, STD, strict=True)]])
    torch.testing.assert_close(model(torch.ones(1, 3, 8, 8)), expected)


# --- its files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", losses.names())
def test_saved_model_is_the_same_model(name: str, tmp_path: Path) -> None:
    model = trained(name)
    for folder in ("one", "two"):
        storage.save(tmp_path / folder, model, NETWORK, loss_named(name), CLASSES, {"recipe": "tiny"})
    loaded, notes = storage.load(tmp_path / "one", CPU)
    storage.save(tmp_path / "three", loaded, NETWORK, loss_named(name), CLASSES, {"recipe": "tiny"})
    for file in ("weights.safetensors", "model.json"):
        assert len({(tmp_path / folder / file).read_bytes() for folder in ("one", "two", "three")}) == 1
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["model.json", "weights.safetensors"]
    images = to_float(some_images(9))
    with torch.no_grad():
        assert torch.equal(loaded(images), model.eval()(images))
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    assert (notes["classes"], notes["recipe"], notes["loss"]) == (CLASSES, "tiny", name)


def test_loaded_model_is_frozen_and_evaluates(tmp_path: Path) -> None:
    storage.save(tmp_path, trained("cross_entropy"), NETWORK, loss_named("cross_entropy"), CLASSES, {})
    loaded, _ = storage.load(tmp_path, CPU)
    assert not any(module.training for module in loaded.modules())
    assert not any(weight.requires_grad for weight in loaded.parameters())


def cut(kept: int) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        weights = folder / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:kept])

    return apply


def another_stem(folder: Path) -> None:
    notes = read_record(folder / "model.json")
    write_record(folder / "model.json", notes | {"stem": "half"})


def without_loss(folder: Path) -> None:
    notes = read_record(folder / "model.json")
    del notes["loss"]
    write_record(folder / "model.json", notes)


def unknown_loss(folder: Path) -> None:
    notes = read_record(folder / "model.json")
    write_record(folder / "model.json", notes | {"loss": "nonsense"})


def a_flipped_bit(folder: Path) -> None:
    """In the last weight, so that the header and the shapes are as before."""
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def edited_notes(folder: Path) -> None:
    text = (folder / "model.json").read_text()
    (folder / "model.json").write_text(text.replace('"stem": "', '"stem": "x'))


def unknown_setting(folder: Path) -> None:
    notes = read_record(folder / "model.json")
    write_record(folder / "model.json", notes | {"loss_config": {"nonsense": 1}})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (a_flipped_bit, r"weights\.safetensors was changed after it was written"),
        (edited_notes, r"model\.json was changed after it was written"),
        (cut(0), r"weights\.safetensors was changed after it was written"),
        (cut(7), r"weights\.safetensors was changed after it was written"),
        (cut(-1), r"weights\.safetensors was changed after it was written"),
        (another_stem, r"weights\.safetensors does not fit its model\.json"),
        (lambda folder: (folder / "weights.safetensors").unlink(), r"weights\.safetensors does not exist"),
        (lambda folder: (folder / "model.json").unlink(), r"model\.json does not exist"),
        (lambda folder: (folder / "model.json").write_text("{"), r"model\.json is not JSON"),
        (lambda folder: (folder / "model.json").write_text("[]"), r"model\.json has no value named 'weights_sha256'"),
        (without_loss, r"model\.json does not fit this version of the code \(KeyError\)"),
        (unknown_loss, r"model\.json does not fit this version of the code \(KeyError\)"),
        (unknown_setting, r"model\.json does not fit this version of the code \(ValidationError\)"),
    ],
    ids=[
        "a flipped bit",
        "edited notes",
        "empty",
        "no header",
        "one byte short",
        "other stem",
        "no weights",
        "no notes",
        "broken notes",
        "a list",
        "no loss",
        "other loss",
        "other setting",
    ],
)
def test_error_for_broken_model_is_one_line(fault: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    loss = loss_named("cross_entropy")
    storage.save(tmp_path, storage.build(NETWORK, loss, 3, MEAN, STD), NETWORK, loss, CLASSES, {})
    fault(tmp_path)
    with pytest.raises(StudyError, match=message) as caught:
        storage.load(tmp_path, CPU)
    assert "\n" not in str(caught.value)


# --- running it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", losses.names())
def test_logits_do_not_depend_on_batch_or_order_and_leave_the_model_unchanged(name: str) -> None:
    model, images = trained(name), some_images(130)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.train()  # the worst state that a caller can pass
    order = torch.randperm(130, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = model.head(all_features(model, images, 130))
        for batch_size in (1, 7, 128):
            torch.testing.assert_close(model.head(all_features(model, images, batch_size)), whole, rtol=0, atol=1e-5)
        turned = model.head(all_features(model, images[order], 7))
        torch.testing.assert_close(turned, whole[order], rtol=0, atol=1e-5)
        torch.testing.assert_close(model(to_float(images)), whole, rtol=0, atol=1e-5)
    assert whole.std(0).amin() > 1e-3  # logits differ between images
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key]), key


def test_images_become_floats_between_zero_and_one() -> None:
    images = torch.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3).to(torch.uint8)
    images[0, 0, 0] = torch.tensor([0, 128, 255], dtype=torch.uint8)
    floats = to_float(images)
    assert floats.shape == (2, 3, 3, 4) and floats.dtype == torch.float32
    assert floats[0, :, 0, 0].tolist() == pytest.approx([0, 128 / 255, 1], abs=1e-7)
    assert torch.equal(torch.round(floats * 255).permute(0, 2, 3, 1).to(torch.uint8), images)


def test_accuracy_is_the_share_of_correct_images() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0]])
    assert accuracy(logits, torch.tensor([0, 1, 1])) == pytest.approx(2 / 3, abs=1e-12)
