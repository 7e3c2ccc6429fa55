"""What a later stage reads: records with a digest, arrays of the right form, nothing but regular files."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness_study.core import files, params
from robustness_study.core.arrays import fault_of
from robustness_study.core.errors import LONGEST, StudyError, shortened
from robustness_study.core.files import (
    array_digest,
    content_digest,
    copy_file,
    flush,
    read_bytes,
    read_json,
    read_npz,
    read_record,
    write_npz,
    write_record,
    write_text,
)
from robustness_study.core.fits import refuse_beyond, refuse_images, refuse_labels, refuse_no_partition, refuse_shape


@pytest.fixture(autouse=True)
def _without_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # an error looks the file up in dvc.lock of the working folder


VALUES: dict[str, Any] = {"a": 1, "b": [0.1, None, "é"], "c": {"d": True}}


def test_a_record_is_read_back_without_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, VALUES)
    assert read_record(path) == VALUES and json.loads(path.read_text(encoding="utf-8")).keys() - VALUES == {
        files.DIGEST
    }
    turned = dict(reversed(VALUES.items()))
    assert content_digest(turned) == content_digest(VALUES) != content_digest({**VALUES, "a": 2})


@pytest.mark.parametrize("old", ["1,", "0.1", "null", "é", "true", '"d"', files.DIGEST])
def test_a_change_of_any_character_of_a_record_is_noticed(old: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, VALUES)
    text = path.read_text(encoding="utf-8").replace("\\u00e9", "é")
    assert old in text
    new = {"1,": "2,", "0.1": "0.2", "null": "0", "é": "e", "true": "false", '"d"': '"e"', files.DIGEST: "x"}[old]
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(StudyError, match=r"a\.json (was changed after it was written: |has no value named )"):
        read_record(path)


@pytest.mark.parametrize("spaced", [" ", "\n\n"])
def test_white_space_between_the_values_of_a_record_is_no_change(spaced: str, tmp_path: Path) -> None:
    """Git may change line ends; a formatter may change the rest."""
    path = tmp_path / "a.json"
    write_record(path, VALUES)
    path.write_text(path.read_text(encoding="utf-8").replace("\n", spaced), encoding="utf-8")
    assert read_record(path) == VALUES


def test_a_digest_of_arrays_depends_on_types_shapes_values_and_order() -> None:
    one, two = np.arange(6), np.arange(6, dtype=np.uint8)
    lists = ([one], [two], [one.reshape(2, 3)], [one + 1], [one, two], [two, one])
    digests = [array_digest(*arrays) for arrays in lists]
    assert len(set(digests)) == len(digests)
    assert array_digest(one.reshape(2, 3).T.copy().T) == array_digest(one.reshape(2, 3))


IMAGES = np.zeros((2, 4, 4, 3), np.uint8)
GOOD: dict[str, list[np.ndarray]] = {
    "images": [IMAGES, np.zeros((5, 2, 4, 4, 3), np.uint8)],
    "labels": [np.zeros(2, np.uint8)],
    "reference_labels": [np.zeros(2, np.uint8)],
    "train": [np.array([0, 3, 4])],
    "test_indices": [np.array([1], np.int32), np.zeros(0, np.int32)],
    "test_clean_logits": [np.zeros((2, 3), np.float32)],
    "features": [np.zeros((2, 3), np.float16)],
    "clean": [np.zeros((2, 2), np.float32)],
    "signs": [np.array([-1, 0, 1], np.int8).reshape(1, 3, 1, 1)],
    "another": [np.array("text"), np.zeros(0), np.full(2, np.nan)],
}
BAD: dict[str, list[tuple[np.ndarray, str]]] = {
    "images": [
        (IMAGES[0], "is uint8 4×4×3, not uint8 N×S×S×3"),
        (IMAGES.astype(np.float32), "is float32 2×4×4×3, not uint8"),
        (IMAGES[:, :3], "is uint8 2×3×4×3, not"),
        (IMAGES[:0], "is empty"),
        (np.array(3, np.uint8), "is uint8 one value, not"),
    ],
    "labels": [(np.zeros(2, np.int64), "is int64 2, not uint8 N"), (np.zeros(0, np.uint8), "is empty")],
    "val": [
        (np.array([-1, 0]), "does not rise from 0 or more"),
        (np.array([1, 1]), "does not rise"),
        (np.array([2, 1], np.uint8), "does not rise"),
        (np.array([0.0]), "is float64 1, not whole numbers N"),
        (np.zeros(0, int), "is empty"),
    ],
    "test_clean_logits": [
        (np.array([[0, np.nan]]), "has values that are NaN or infinite"),
        (np.array([[np.inf]], np.float16), "has values that are NaN or infinite"),
        (np.zeros(2), "is float64 2, not numbers N×D"),
        (np.zeros((2, 2), int), "is int64 2×2, not numbers N×D"),
    ],
    "signs": [(np.full((1, 3, 1, 1), 2, np.int8), "is int8 1×3×1×1, not int8 N×3×S×S of −1, 0 and 1")],
}


@pytest.mark.parametrize(("name", "arrays"), GOOD.items(), ids=list(GOOD))
def test_arrays_of_the_right_form_are_read(name: str, arrays: list[np.ndarray], tmp_path: Path) -> None:
    for array in arrays:
        write_npz(tmp_path / "a.npz", **{name: array})
        (found,) = read_npz(tmp_path / "a.npz", name)
        np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize(("name", "arrays"), BAD.items(), ids=list(BAD))
def test_arrays_of_another_form_are_refused(name: str, arrays: list[tuple[np.ndarray, str]], tmp_path: Path) -> None:
    for array, message in arrays:
        write_npz(tmp_path / "a.npz", **{name: array})
        with pytest.raises(StudyError) as caught:
            read_npz(tmp_path / "a.npz", name)
        assert f"a.npz: {name} {message}" in str(caught.value) and "\n" not in str(caught.value)
        assert fault_of("another", array) is None


def test_images_and_labels_of_one_file_have_the_same_number(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", images=IMAGES, labels=np.zeros(3, np.uint8))
    with pytest.raises(StudyError, match=r"a\.npz has 2 images and 3 labels; "):
        read_npz(tmp_path / "a.npz", "images", "labels")


IMAGE = np.zeros((4, 8, 8, 3), np.uint8)
NUMBERS = np.arange(4)
FITS: dict[str, tuple[Callable[[np.ndarray], None], np.ndarray, np.ndarray, str]] = {  # check, good, bad, message
    "a shape": (
        lambda array: refuse_shape("a", images=(array, (4, None, 8, 3))),
        IMAGE,
        IMAGE[:3],
        "images is 3×8×8×3, but other files ask for 4×any×8×3",
    ),
    "dimensions": (
        lambda array: refuse_shape("a", images=(array, (4, 8, 8, 3))),
        IMAGE,
        IMAGE[None],
        "images is 1×4×8×8×3, but",
    ),
    "one value": (
        lambda array: refuse_shape("a", value=(array, ())),
        np.array(3),
        NUMBERS,
        "value is 4, but other files ask for one value",
    ),
    "a label": (
        lambda array: refuse_labels("a", array, 4),
        NUMBERS,
        NUMBERS + 1,
        "there is the label 4, but there are only 4 classes",
    ),
    "an index": (
        lambda array: refuse_beyond("a", 4, array, np.zeros(0, int)),
        NUMBERS,
        NUMBERS + 1,
        "there is the index 4, but there are only 4 images",
    ),
    "a missing image": (
        lambda array: refuse_no_partition("a", 6, array, np.array([4, 5])),
        NUMBERS,
        NUMBERS[1:],
        "not each of the 6 images is in exactly one part",
    ),
    "an image in two parts": (
        lambda array: refuse_no_partition("a", 4, array, np.array([2, 3])),
        NUMBERS[:2],
        NUMBERS[:3],
        "not each of the 4 images is in exactly one part",
    ),
    "images of another size than the model's": (
        lambda array: refuse_images("a", array, NUMBERS, {"size": 8, "classes": ["a"] * 4}),
        IMAGE,
        np.zeros((4, 16, 16, 3), np.uint8),
        "images is 4×16×16×3, but other files ask for 4×8×8×3",
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_files_that_do_not_fit_each_other_are_refused(name: str) -> None:
    check, good, bad, message = FITS[name]
    check(good)
    with pytest.raises(StudyError) as caught:
        check(bad)
    assert str(caught.value).startswith(f"a: {message}") and str(caught.value).endswith(
        "; delete it and run `dvc repro`"
    )


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A sparse file: it takes no space, and reading it would fill the memory."""
    with open(tmp_path / "a.json", "wb") as stream:
        stream.truncate(300 << 30)
    for read in (read_json, read_record, read_bytes):
        with pytest.raises(StudyError, match=r"a\.json has 322,122,547,200 bytes, more than 1,073,741,824; delete"):
            read(tmp_path / "a.json")


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_npz(path, "images"),
        read_json,
        read_bytes,
        lambda path: copy_file(path, path.with_name("b")),
        params.read,
    ],
)
@pytest.mark.parametrize("put", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_nothing_but_a_regular_file_is_opened(
    read: Callable[[Path], object], put: Callable[[Path], None], tmp_path: Path
) -> None:
    """Reading a pipe waits for ever, and /dev/zero has no end."""
    put(tmp_path / "a")
    with pytest.raises(StudyError, match="a is not a regular file; "):
        read(tmp_path / "a")


def test_files_and_their_folder_are_flushed_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        flushed.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_text(tmp_path / "a.txt", "text")
    assert flushed == ["file", "folder"]
    flush(tmp_path / "a.txt")


def test_a_message_has_at_most_three_hundred_characters() -> None:
    text = f"params.yaml: a key has the value {'x' * 10_000_000!r}; correct it"
    assert len(shortened(text)) == LONGEST == 300
    assert shortened(text).startswith("params.yaml: a key has the value 'xxx")
    assert shortened(text).endswith("; correct it")
    assert shortened("short") == "short"
