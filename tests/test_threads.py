"""The same bits for any number of threads, wherever batches of images go through a network after training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from attacked import CLASSES, some_images, some_labels, subject_of, tiny_model
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor

from robustness_study.classifier.batches import each_batch, in_batches
from robustness_study.classifier.inference import outputs, to_float
from robustness_study.evaluation import score
from robustness_study.evaluation.probe import fit_probe
from robustness_study.evaluation.stress import logits_of
from robustness_study.schema.evaluate import Evaluate

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def with_threads(count: int, function: object) -> object:
    torch.set_num_threads(count)
    assert callable(function)
    return function()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("count", "size"), [(10, 3), (9, 3), (2, 3), (1, 1)])
def test_batches_keep_their_order(threads: int, count: int, size: int) -> None:
    torch.set_num_threads(threads)
    rows = torch.arange(count)
    found = each_batch(lambda batch: rows[batch].tolist(), count, size, CPU)
    assert [row for batch in found for row in batch] == rows.tolist() and all(len(batch) <= size for batch in found)
    assert torch.equal(in_batches(lambda one, other: one + other, size, rows, rows), 2 * rows)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_batch_is_raised(threads: int) -> None:
    torch.set_num_threads(threads)
    with pytest.raises(ZeroDivisionError):
        each_batch(lambda batch: 1 // (batch.start - 3), 9, 3, CPU)


def test_logits_features_and_gradients_do_not_depend_on_the_threads() -> None:
    model, images, labels = tiny_model(), some_images(40), some_labels(40)

    def everything() -> list[np.ndarray]:
        logits, features = outputs(model, images, 7)
        subject = subject_of(model, to_float(images), labels, batch_size=7)
        found = [*subject.run("pgd").values(), *subject.run("square").values()]
        predictions = [predicted for each in found for predicted in each.predictions.values()]
        return [
            logits.numpy(),
            features.numpy(),
            subject.gradient.signs.numpy(),
            logits_of(model, images.numpy(), 100),
            *predictions,
        ]

    wanted = with_threads(1, everything)
    for count in (2, 3, 8):
        found = with_threads(count, everything)
        assert isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found) > 4
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(one, other)


def test_gradients_are_not_kept_of_predictions() -> None:
    """Each thread of torch has its own switch for gradients."""
    torch.set_num_threads(4)
    seen: list[bool] = []

    def watched(images: Tensor) -> Tensor:
        seen.append(torch.is_grad_enabled())
        return torch.zeros(len(images), CLASSES)

    subject_of(watched, to_float(some_images(20)), some_labels(20), batch_size=3)
    assert len(seen) == 7 and not any(seen)


def test_evaluation_multiplies_matrices_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe's last digits would depend on the number of threads."""
    seen: list[int] = []

    def watched(features: np.ndarray, labels: np.ndarray, inverse_penalty: float) -> object:
        seen.extend(each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas")
        return fit_probe(features, labels, inverse_penalty)

    monkeypatch.setattr(score, "fit_probe", watched)
    images, labels = some_images(12).numpy(), (np.arange(12) % CLASSES).astype(np.uint8)
    section = Evaluate(batch_size=5, knn_neighbours=3, probe_inverse_penalty=0.01, flip_test_time_augmentation=False)
    with threadpool_limits(2, user_api="blas"):
        sets = {"train_clean": (images, labels), "val_clean": (images, labels)}
        score.evaluate(tiny_model(), sets, "train_clean", ["a", "b", "c"], section)
    assert seen and set(seen) == {1}
