"""The stage `split`: every class has its share, no image is in two parts, and every run gives the same split."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_npz, write_record
from robustness_study.split import split
from stages import split as stage

BALANCED = np.random.default_rng(0).permutation(np.repeat(np.arange(10, dtype=np.uint8), 100))


def test_every_class_of_a_balanced_set_has_exactly_its_share() -> None:
    train, val = split(BALANCED, 0.2, 0)
    assert np.bincount(BALANCED[train]).tolist() == [20] * 10
    assert np.bincount(BALANCED[val]).tolist() == [80] * 10


@pytest.mark.parametrize(
    ("share", "counts"),
    [
        (0.2, [1, 2, 11, 1]),  # of 3, 10, 57 and 2 images: 0.6, 2, 11.4 and 0.4, which becomes 1
        (0.5, [2, 5, 28, 1]),  # 1.5 and 28.5 are rounded to the even number
        (0.9, [2, 9, 51, 1]),  # 2.7 and 1.8 would leave no validation image
    ],
)
def test_unequal_classes_are_split_by_rounding_with_at_least_one_image_on_both_sides(
    share: float, counts: list[int]
) -> None:
    sizes = [3, 10, 57, 2]
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(4), sizes))
    train, val = split(labels, share, 0)
    assert np.bincount(labels[train]).tolist() == counts
    assert np.bincount(labels[val]).tolist() == [size - count for size, count in zip(sizes, counts, strict=True)]


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_both_parts_are_sorted_disjoint_and_complete(seed: int) -> None:
    train, val = (side.tolist() for side in split(BALANCED, 0.2, seed))
    assert train == sorted(set(train)) and val == sorted(set(val))
    assert sorted([*train, *val]) == list(range(1000))


def test_split_follows_the_seed() -> None:
    first, same, other = (split(BALANCED, 0.2, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    shared = len(np.intersect1d(first, other))
    assert 20 < shared < 70  # 40 are expected by chance


def test_first_images_are_not_preferred() -> None:
    labels = np.zeros(20, np.uint8)
    drawn = np.bincount(np.concatenate([split(labels, 0.5, seed)[0] for seed in range(200)]), minlength=20)
    assert drawn.min() > 70 and drawn.max() < 130  # each image 100 times in 200 by chance


def test_split_of_a_class_does_not_depend_on_other_classes() -> None:
    labels = np.array([0, 1] * 50)
    others = np.where(labels == 0, 0, np.arange(100) % 3 + 4)
    alone, among = split(labels, 0.3, 7)[0], split(others, 0.3, 7)[0]
    assert [i for i in alone if labels[i] == 0] == [i for i in among if others[i] == 0]


def test_equal_classes_are_not_split_alike() -> None:
    train = split(np.repeat([0, 1], 50), 0.5, 0)[0]
    assert train[train < 50].tolist() != (train[train >= 50] - 50).tolist()


def test_class_of_one_image_is_named() -> None:
    with pytest.raises(
        StudyError, match=r"^split: class 3 has only 1 training image; add .* at least 2, .*validation$"
    ):
        split(np.array([0, 0, 3, 0]), 0.5, 0)


def write_inputs(
    train: np.ndarray, test: np.ndarray, accept_duplicates: bool = False, files: dict[str, list[str]] | None = None
) -> None:
    section = {"train_share": 0.2, "accept_duplicates": accept_duplicates}
    Path("params.yaml").write_text(json.dumps({"split": section}))
    write_npz("data/raw/train.npz", images=train, labels=BALANCED)
    write_npz("data/raw/test.npz", images=test, labels=BALANCED[: len(test)])
    write_record("data/raw/files.json", files or {"training": None, "test": None})


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Training and test images, all different. The stage runs in their folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["split", "--seed", "5"])
    rng = np.random.default_rng(0)
    every = rng.integers(0, 256, (len(BALANCED) + 30, 4, 4, 3), dtype=np.uint8)
    return every[:-30], every[-30:]


def test_stage_writes_sorted_indices_of_both_parts_and_all_test_images(
    images: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    write_inputs(*images)
    stage.main()
    train, val = split(BALANCED, 0.2, 5)
    with np.load("data/split/5.npz") as written:
        assert {name: written[name].dtype for name in written} == dict.fromkeys(("train", "val", "test"), np.int32)
        np.testing.assert_array_equal(written["train"], train)
        np.testing.assert_array_equal(written["val"], val)
        np.testing.assert_array_equal(written["test"], np.arange(30))
    assert capsys.readouterr().out == "split 5: 200 train, 800 validate, 30 test\n"


@pytest.mark.parametrize("side", ["validation", "test", "validation and test"])
def test_a_leak_across_splits_is_found(
    side: str, images: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    (train, test), (trains, validates) = images, split(BALANCED, 0.2, 5)
    one, other = f"training image {trains[3]}", f"validation image {validates[9]}"
    if side == "test":
        test[7], other = train[trains[3]], "test image 7"
    elif side == "validation":
        train[validates[9]] = train[trains[3]]
    else:
        test[7], one, other = train[validates[9]], other, "test image 7"
    write_inputs(train, test)
    with pytest.raises(StudyError, match=f"1 image.* in two parts, for example {one} and {other}, so") as caught:
        stage.main()
    assert "\n" not in str(caught.value) and not Path("data/split/5.npz").exists()
    write_inputs(train, test, accept_duplicates=True)
    stage.main()
    assert "(accepted)" in capsys.readouterr().out and Path("data/split/5.npz").exists()


def test_an_image_from_a_file_is_called_by_its_file(images: tuple[np.ndarray, np.ndarray]) -> None:
    (train, test), (_, validates) = images, split(BALANCED, 0.2, 5)
    test[7] = train[validates[9]]
    files = {
        "training": [f"train/a|b/{number}.png" for number in range(len(train))],
        "test": [f"test/a|b/{number} Größe\udce9.png" for number in range(len(test))],  # one byte is not UTF-8
    }
    write_inputs(train, test, files=files)
    one, other = f"'train/a|b/{validates[9]}.png'", r"'test/a|b/7 Größe\udce9.png'"
    with pytest.raises(StudyError, match=re.escape(f"for example validation image {one} and test image {other}, so")):
        stage.main()


def test_the_same_image_twice_in_one_part_is_no_leak(images: tuple[np.ndarray, np.ndarray]) -> None:
    train, test = images
    trains, _ = split(BALANCED, 0.2, 5)
    train[trains[1]], test[1] = train[trains[0]], test[0]
    write_inputs(train, test)
    stage.main()


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"training": null}'])
def test_broken_names_of_files_are_one_line(images: tuple[np.ndarray, np.ndarray], content: str) -> None:
    write_inputs(*images)
    Path("data/raw/files.json").write_text(content)
    with pytest.raises(
        StudyError, match=r"^data/raw/files\.json has no value named '(training|test)'; delete it and run"
    ):
        stage.main()
