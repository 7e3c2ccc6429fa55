"""Batches: both ways give the same number of full ones, with each image or class as often as documented."""

from __future__ import annotations

import numpy as np
import pytest

from robustness_study.core.errors import StudyError
from robustness_study.training.batches import epoch_batches

WAYS = ("shuffled", "class_balanced")
BALANCED = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 30))
UNEQUAL = np.random.default_rng(1).permutation(np.repeat([2, 5, 6], [3, 12, 6]))


@pytest.mark.parametrize(
    "labels", [BALANCED, UNEQUAL, np.zeros(17, np.uint8)], ids=["balanced", "unequal", "one class"]
)
@pytest.mark.parametrize("batch_size", [8, 9, 13, 17])
def test_both_ways_give_the_same_number_of_full_batches(labels: np.ndarray, batch_size: int) -> None:
    for way in WAYS:
        batches = epoch_batches(way, labels, batch_size, 0, 1)
        assert batches.shape == (len(labels) // batch_size, batch_size)
        assert batches.dtype == np.int64
        assert batches.min() >= 0 and batches.max() < len(labels)


@pytest.mark.parametrize("way", WAYS)
def test_epoch_of_equal_classes_holds_each_image_once(way: str) -> None:
    for epoch in (1, 2, 3):
        assert sorted(epoch_batches(way, BALANCED, 24, 0, epoch).ravel()) == list(range(120))


@pytest.mark.parametrize("way", WAYS)
def test_images_beyond_the_last_full_batch_are_left_out_and_none_is_repeated(way: str) -> None:
    batches = epoch_batches(way, BALANCED, 50, 0, 1).ravel()
    assert len(set(batches)) == len(batches) == 100


@pytest.mark.parametrize("way", WAYS)
def test_another_epoch_leaves_out_other_images(way: str) -> None:
    seen = {index for epoch in range(1, 9) for index in epoch_batches(way, BALANCED, 70, 0, epoch).ravel()}
    assert seen == set(range(120))


@pytest.mark.parametrize("labels", [BALANCED, UNEQUAL], ids=["balanced", "unequal"])
def test_whole_rounds_hold_each_class_equally_often(labels: np.ndarray) -> None:
    classes = len(np.unique(labels))
    drawn = labels[epoch_batches("class_balanced", labels, 2 * classes, 3, 1).ravel()]
    for rounds in range(1, len(drawn) // classes + 1):
        for start in range(len(drawn) - rounds * classes + 1):
            _, counts = np.unique(drawn[start : start + rounds * classes], return_counts=True)
            assert counts.tolist() == [rounds] * classes


def test_any_consecutive_images_hold_each_class_equally_often_within_one() -> None:
    drawn = BALANCED[epoch_batches("class_balanced", BALANCED, 10, 3, 1)]
    for batch in drawn:
        assert sorted(np.bincount(batch, minlength=4)) == [2, 2, 3, 3]


def test_small_class_repeats_evenly_and_large_class_does_not() -> None:
    drawn = np.bincount(epoch_batches("class_balanced", UNEQUAL, 21, 0, 1).ravel(), minlength=21)
    assert sorted(drawn[UNEQUAL == 2]) == [2, 2, 3]  # 7 draws of 3 images
    assert sorted(drawn[UNEQUAL == 6]) == [1, 1, 1, 1, 1, 2]  # 7 draws of 6 images
    assert sorted(drawn[UNEQUAL == 5]) == [0] * 5 + [1] * 7  # 7 draws of 12 images


def test_small_class_is_shuffled_again_when_it_is_used_up() -> None:
    labels = np.repeat([0, 1], [8, 80])
    drawn = epoch_batches("class_balanced", labels, 88, 0, 1).ravel()
    passes = drawn[labels[drawn] == 0][:40].reshape(5, 8)
    assert all(sorted(once) == list(range(8)) for once in passes)
    assert len({tuple(once) for once in passes}) == 5


@pytest.mark.parametrize("way", WAYS)
def test_order_follows_seed_and_epoch(way: str) -> None:
    orders = [epoch_batches(way, BALANCED, 24, *at).tobytes() for at in ((0, 1), (0, 2), (1, 1), (1, 2), (0, 1))]
    assert orders[0] == orders[4] and len(set(orders)) == 4


@pytest.mark.parametrize("way", WAYS)
def test_too_few_images_for_a_batch_are_refused(way: str) -> None:
    assert len(epoch_batches(way, BALANCED, 120, 0, 1)) == 1
    with pytest.raises(
        StudyError, match=r"^batch_size is 121, but there are only 120 training images; set it to at most 120"
    ):
        epoch_batches(way, BALANCED, 121, 0, 1)


def test_class_balanced_batches_too_small_for_pairs_are_refused() -> None:
    assert epoch_batches("class_balanced", BALANCED, 8, 0, 1).shape == (15, 8)
    with pytest.raises(
        StudyError, match=r"batch_size is 7, which is too small: .* of each of the 4 classes; .* at least 8"
    ):
        epoch_batches("class_balanced", BALANCED, 7, 0, 1)
    assert epoch_batches("shuffled", BALANCED, 7, 0, 1).shape == (17, 7)
