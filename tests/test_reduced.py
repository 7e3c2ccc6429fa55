"""A trained model in the precision of training: how far its predictions may differ, and what leaves it exact."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from robustness_study import losses
from robustness_study.classifier import reduced as module
from robustness_study.classifier.inference import outputs, to_float
from robustness_study.classifier.model import Classifier
from robustness_study.classifier.reduced import Reduced
from robustness_study.core import params
from robustness_study.datasets.digits import enlarged_digits
from robustness_study.evaluation.score import evaluate, outputs_of
from robustness_study.schema.evaluate import Evaluate
from robustness_study.schema.recipe import Recipe
from robustness_study.training.one_model import train_cell
from robustness_study.training.progress import Progress

VALUES = params.read(Path(__file__).resolve().parents[1] / "params.yaml")
DIGITS = enlarged_digits(16)


@functools.cache
def trained() -> Classifier:
    """A narrow ResNet-18 after five epochs on the digits: right about most of them, and not sure of all."""
    changes = {"network": "resnet18_narrow", "epochs": 5, "batch_size": 64, "peak_learning_rate": 0.1, "flip": "off"}
    changes |= {"precision": "float32", "watched_images": 50}
    recipe = Recipe.model_validate(VALUES["recipes"]["cpu"] | changes)
    count = len(DIGITS.train_labels)
    indices = {"train": np.arange(0, count - 50), "val": np.arange(count - 50, count)}
    loss = losses.make("cross_entropy", VALUES["loss_config"]["cross_entropy"])
    on, progress = torch.device("cpu"), Progress(recipe.epochs)
    found, _ = train_cell(DIGITS.train_images, DIGITS.train_labels, indices, 10, loss, recipe, 0, on, progress)
    return found.eval()


def in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> Reduced:
    """The model in bfloat16, whatever this processor computes in."""
    monkeypatch.setattr(module, "precision_of", lambda *_: torch.bfloat16)
    return Reduced(trained(), "bfloat16", "resnet18_narrow")


def test_few_predictions_differ_and_accuracy_hardly(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = torch.from_numpy(DIGITS.train_images), DIGITS.train_labels
    exact, features = outputs(trained(), images, 100)
    rough, rough_features = outputs(in_bfloat16(monkeypatch), images, 100)
    assert 0.9 < (exact.argmax(1).numpy() == labels).mean() < 1
    assert rough.dtype == rough_features.dtype == torch.float32 and not torch.equal(rough, exact)
    assert (rough.argmax(1) != exact.argmax(1)).double().mean() <= 0.005
    accuracies = [(logits.argmax(1).numpy() == labels).mean() for logits in (exact, rough)]
    assert abs(accuracies[0] - accuracies[1]) <= 0.003
    assert (rough.softmax(1) - exact.softmax(1)).abs().max() < 0.05
    assert torch.nn.functional.cosine_similarity(features, rough_features).min() > 0.999


def test_the_gradient_of_the_images_is_alike_and_the_model_is_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rough = trained(), in_bfloat16(monkeypatch)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    slopes = []
    for logits in (model, rough):
        images = to_float(torch.from_numpy(DIGITS.test_images[:40])).requires_grad_()
        loss = torch.nn.functional.cross_entropy(logits(images), torch.from_numpy(DIGITS.test_labels[:40]).long())
        slopes.append(torch.autograd.grad(loss, images)[0].flatten(1))
    assert torch.nn.functional.cosine_similarity(slopes[0], slopes[1]).median() > 0.98
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(("trained_in", "native"), [("float32", True), ("float32", False), ("bfloat16", False)])
def test_it_is_the_model_itself_where_bfloat16_was_not_used(
    trained_in: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    found = Reduced(trained(), trained_in, "resnet18_narrow")
    images = to_float(torch.from_numpy(DIGITS.test_images[:20]))
    with torch.no_grad():
        assert torch.equal(found(images), trained()(images))
    assert found.precision == "float32"


def test_only_training_and_validation_images_are_scored_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rough = trained(), in_bfloat16(monkeypatch)
    given = DIGITS.train_images[:60], DIGITS.train_labels[:60]
    sets = dict.fromkeys(("train_clean", "val_clean", "test_clean", "natural_new"), given)
    section = Evaluate.model_validate(VALUES["evaluate"])
    _, arrays = evaluate(model, sets, "train_clean", DIGITS.classes, section, rough)
    exact, fast = (outputs_of(each, given[0], section.batch_size) for each in (model, rough))
    np.testing.assert_array_equal(arrays["train_clean_logits"], fast[0])
    np.testing.assert_array_equal(arrays["val_clean_logits"], fast[0])
    np.testing.assert_array_equal(arrays["test_clean_logits"], exact[0])
    np.testing.assert_array_equal(arrays["reference_features"], fast[1])
    assert not np.array_equal(exact[0], fast[0])


def test_each_set_goes_through_the_network_once() -> None:
    passes: list[int] = []

    class Counting:
        mean = trained().mean

        def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            passes.append(len(images))
            return trained().outputs(images)

    sets = {name: (DIGITS.train_images[:count], DIGITS.train_labels[:count]) for name, count in
            (("train_clean", 50), ("val_clean", 51), ("test_clean", 52))}  # fmt: skip
    section = Evaluate.model_validate(VALUES["evaluate"])
    evaluate(Counting(), sets, "train_clean", DIGITS.classes, section)
    assert passes == [50, 51, 52]


def test_the_notes_of_a_model_say_the_precision() -> None:
    native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    for named, expected in (("float32", "float32"), ("bfloat16", "bfloat16" if native else "float32")):
        notes = {"environment": {"precision": named}, "network": "resnet18_narrow"}
        assert Reduced.as_trained(trained(), notes).precision == expected


def test_a_layer_that_computes_with_its_weights_first_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    model = copy.deepcopy(trained())
    torch.nn.utils.parametrizations.weight_norm(model.backbone.get_submodule("conv"))
    monkeypatch.setattr(module, "precision_of", lambda *_: torch.bfloat16)
    rough, images = Reduced(model, "bfloat16", "resnet18_narrow"), to_float(torch.from_numpy(DIGITS.test_images[:20]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model.backbone((images - model.mean) / model.std).float()
    with torch.no_grad():
        assert torch.equal(rough.features(images), expected)
