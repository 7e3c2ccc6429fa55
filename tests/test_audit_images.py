"""The images of an audit: folders, arrays and natural sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustness_study.audit import images
from robustness_study.audit.settings import settings_of
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT
from robustness_study.datasets.digits import enlarged_digits
from robustness_study.natural import cifar10_1
from robustness_study.natural.base import NaturalSet

SIDE = 12
DIGITS = enlarged_digits(SIDE)
VALUES = params.read(ROOT / "params.yaml")


def pictures(top: Path, classes: dict[str, int]) -> None:
    for name, shade in classes.items():
        (top / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (20, 20), (shade, shade, number)).save(top / name / f"{number}.png")


@pytest.mark.parametrize("inside", ["", "test"])
def test_images_of_a_folder_in_the_order_of_the_outputs(tmp_path: Path, inside: str) -> None:
    pictures(tmp_path / inside, {"cat": 10, "ant": 200, "bee": 90})
    found = images.read(str(tmp_path), 16, None, "white")
    assert found.classes == ["ant", "bee", "cat"] and found.images.shape == (9, 16, 16, 3)
    other = images.read(str(tmp_path), 16, ["cat", "dog", "bee", "ant"], "white")
    assert other.labels.tolist() == [3, 3, 3, 2, 2, 2, 0, 0, 0] and other.classes[1] == "dog"
    assert (other.images == found.images).all()


def test_images_of_a_study_keep_their_class_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", images=DIGITS.test_images, labels=DIGITS.test_labels)
    assert images.read(str(tmp_path / "test.npz"), None, None, "white").classes == [str(each) for each in range(10)]
    about = {"name": "d", "origin": "o", "checksum": "c", "official": True, "jpeg_share": 0.0}
    (tmp_path / "source.json").write_text(json.dumps({**about, "classes": list("abcdefghij")}))
    found = images.read(str(tmp_path / "test.npz"), None, None, "white")
    assert found.classes == list("abcdefghij") and found.about == about
    (tmp_path / "source.json").write_text(json.dumps({**about, "classes": list("abc")}))
    with pytest.raises(StudyError, match=r"a label is 9, but .*source\.json names 3 classes; mend it"):
        images.read(str(tmp_path / "test.npz"), None, list("abc"), "white")


def bad_npz(**arrays: Any) -> Any:
    return lambda top: np.savez(top / "x.npz", **arrays)


@pytest.mark.parametrize(
    ("make", "what", "classes", "message"),
    [
        (lambda top: None, "nowhere", None, "--images '.*nowhere' is no folder and no .npz file"),
        (lambda top: None, "x.npz", None, "--images .*x.npz does not exist; make it with numpy.savez"),
        (bad_npz(images=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(2)), "x.npz", None, "must be uint8 N×S×S×3"),
        (bad_npz(images=np.zeros((2, 8, 8, 3)), labels=np.zeros(2)), "x.npz", None, "images are float64 2×8×8×3"),
        (
            bad_npz(images=np.zeros((2, 8, 8, 3), np.uint8), labels=np.array([0, 999])),
            "x.npz",
            None,
            "the largest label is 999",
        ),
        (
            bad_npz(images=np.zeros((2, 8, 8, 3), np.uint8), labels=np.array([0, 1])),
            "x.npz",
            ["0", "a"],
            "--classes has no '1'; it must name all classes",
        ),
        (
            bad_npz(images=np.zeros((2, 256, 256, 3), np.uint8), labels=np.array([0, 1])),
            "x.npz",
            None,
            "the images are 256 pixels wide; at most 224",
        ),
        (lambda top: pictures(top / "f", {"a": 1}), "f", None, "there are not two folders of classes"),
    ],
)
def test_images_that_cannot_be_used_are_refused(
    tmp_path: Path, make: Any, what: str, classes: list[str] | None, message: str
) -> None:
    make(tmp_path)
    with pytest.raises(StudyError, match=message):
        images.read(str(tmp_path / what), 16 if what == "f" else None, classes, "white")


def test_a_folder_needs_a_size(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="--images is a folder, so --size is needed"):
        images.read(str(tmp_path), None, None, "white")


def test_a_natural_set_is_scored_with_labels_in_the_order_of_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    order = [*reversed(cifar10_1.CLASSES)]
    data = images.TestImages(
        rng.integers(0, 256, (20, 32, 32, 3)).astype(np.uint8),
        np.repeat(np.arange(10), 2).astype(np.uint8),
        order,
        {"name": "cifar10"},
    )
    found = NaturalSet(data.images[:10], np.arange(10).astype(np.uint8), {})
    monkeypatch.setattr(cifar10_1, "load", lambda folder, fetched: found)
    changed = images.Changed(data, settings_of(VALUES, True, ("cifar10_1",), 32))
    ((pictures_of_set, labels),) = changed.natural.values()
    assert (pictures_of_set == found.images).all()
    assert [order[label] for label in labels] == list(cifar10_1.CLASSES)


def test_a_natural_set_needs_the_names_of_its_classes() -> None:
    numbers = [str(each) for each in range(10)]
    data = images.TestImages(DIGITS.test_images, DIGITS.test_labels, numbers, {"name": "cifar10"})
    with pytest.raises(StudyError, match="--natural cifar10_1: the images have no class 'airplane'; name their"):
        _ = images.Changed(data, settings_of(VALUES, True, ("cifar10_1",), 32)).natural


def test_corruptions_of_params_are_checked_before_the_work() -> None:
    wrong = {"fogg": "suite.corruptions has 'fogg', which does not exist", "spatter": "add at least one of CIFAR-10-C"}
    for name, message in wrong.items():
        values = VALUES | {"suite": VALUES["suite"] | {"corruptions": [name]}}
        with pytest.raises(StudyError, match=message):
            settings_of(values, True, (), 32)
