"""Files: never partly written, the same bytes for the same values, and errors that name the command to run."""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustness_study.core.array_text import from_text, to_text
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_arrays, read_json, read_npz, replacing, write_json, write_npz, write_text
from robustness_study.core.imports import ROOT


@pytest.mark.parametrize("error", [ValueError, OSError, StudyError, KeyboardInterrupt])
@pytest.mark.parametrize("written", [b"", b"half"], ids=["before writing", "half-written"])
def test_failure_keeps_the_old_file_and_leaves_no_temporary_file(
    tmp_path: Path, error: type[BaseException], written: bytes
) -> None:
    target = tmp_path / "result.npz"
    target.write_bytes(b"old")
    with pytest.raises(error), replacing(target) as temporary:
        if written:
            temporary.write_bytes(written)
        raise error
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_failure_leaves_no_file_where_there_was_none(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: .*a\.txt"), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_file_is_replaced_at_the_end_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "result.txt"
    write_text(target, "old")
    with replacing(str(target)) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent and temporary.suffix == target.suffix and target.read_text() == "old"
    assert target.read_text() == "new" and list(target.parent.iterdir()) == [target]


def test_two_processes_do_not_write_to_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replacing(tmp_path / "a.txt") as ours:
        monkeypatch.setattr(os, "getpid", lambda: 0)
        with replacing(tmp_path / "a.txt") as theirs:
            ours.write_text("ours")
            theirs.write_text("theirs")
        assert (tmp_path / "a.txt").read_text() == "theirs"
    assert (tmp_path / "a.txt").read_text() == "ours" and len(list(tmp_path.iterdir())) == 1


IGNORING = {"git": ["git", "check-ignore", "--no-index"], "dvc": [sys.executable, "-m", "dvc", "check-ignore"]}


@pytest.mark.parametrize("command", IGNORING.values(), ids=list(IGNORING))
def test_temporary_file_of_a_killed_process_is_ignored_by_git_and_dvc(tmp_path: Path, command: list[str]) -> None:
    """git and DVC ignore the temporary file of every output, and not the output itself."""
    left = []
    for name in ("a.json", "a.csv", "a.png", "a.npz", "weights.safetensors", "report.md", "checked.txt"):
        with replacing(tmp_path / name) as temporary:
            temporary.touch()
            left.append(f"reports/cells/angular/clean-0/{temporary.name}")
    result = "reports/cells/angular/clean-0/evaluate.json"
    top = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", top], check=True)
    (top / ".dvc").mkdir()
    (top / ".dvc/config").touch()
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, top)
    done = subprocess.run([*command, *left, result], cwd=top, capture_output=True, text=True, check=False)
    assert done.stdout.split() == left, done.stderr


def test_text_is_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "ε\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xce\xb5\nb\n"


def test_json_is_indented_and_read_back(tmp_path: Path) -> None:
    value = {"b": [1, 0.1, None], "a": "ε"}
    write_json(tmp_path / "a.json", value)
    assert (tmp_path / "a.json").read_bytes() == b'{\n "b": [\n  1,\n  0.1,\n  null\n ],\n "a": "\\u03b5"\n}\n'
    assert read_json(tmp_path / "a.json") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), np.float64("nan")])
def test_json_refuses_what_json_does_not_have(tmp_path: Path, number: float) -> None:
    write_json(tmp_path / "a.json", {"a": 1.0})
    with pytest.raises(StudyError, match=r"a\.json is not written: one of its values is NaN or infinite"):
        write_json(tmp_path / "a.json", {"rows": [{"a": number}]})
    assert read_json(tmp_path / "a.json") == {"a": 1.0} and len(list(tmp_path.iterdir())) == 1


ARRAYS: dict[str, np.ndarray] = {
    "images": np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "flags": np.array([True, False]),
    "none": np.zeros((0, 4), np.int32),
}


def test_files_of_arrays_do_not_depend_on_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "a.npz", **ARRAYS)
    clock = time.time() + 10 * 365 * 86_400
    monkeypatch.setattr(time, "time", lambda: clock)
    write_npz(tmp_path / "b.npz", **ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_arrays_are_read_back_in_the_order_they_are_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", **ARRAYS)
    names = ("none", "turned", "images", "flags")
    for name, array in zip(names, read_npz(tmp_path / "a.npz", *names), strict=True):
        np.testing.assert_array_equal(array, ARRAYS[name], strict=True)


class Trap:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("sprung",)


def test_pickles_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", objects=np.array([Trap()], dtype=object))
    with pytest.raises((ValueError, StudyError)):
        read_npz("a.npz", "objects")
    assert not Path("sprung").exists()


DAMAGES: dict[str, Callable[[bytearray, random.Random, int], None]] = {
    "flip a bit": lambda content, rng, at: content.__setitem__(at, content[at] ^ 1 << rng.randrange(8)),
    "cut": lambda content, rng, at: content.__delitem__(slice(at, at + rng.choice([1, 9, len(content)]))),
    "insert": lambda content, rng, at: content.__setitem__(slice(at, at), rng.randbytes(rng.choice([1, 9, 90]))),
    "zero": lambda content, rng, at: content.__setitem__(slice(at, at + 20), bytes(len(content[at : at + 20]))),
    "change the end": lambda content, rng, at: content.__setitem__(-1 - at % 200, rng.randrange(256)),
}
METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflate": zipfile.ZIP_DEFLATED,
    "bz2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    rng.choice(list(DAMAGES.values()))(changed, rng, rng.randrange(len(content)))
    return bytes(changed)


def zipped(members: dict[str, bytes], method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content, method)
    return file.getvalue()


def as_npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_damaged_archive_gives_its_arrays_or_one_line(tmp_path: Path, method: int) -> None:
    rng, read = random.Random(0), 0
    content = zipped({name: as_npy(array) for name, array in ARRAYS.items()}, method)
    for _ in range(1000):
        (tmp_path / "a.npz").write_bytes(damaged(content, rng))
        try:
            found = read_arrays(tmp_path / "a.npz", "make it again", list(ARRAYS))
        except StudyError as error:
            assert str(error).endswith("; make it again") and "\n" not in str(error)
            continue
        read += 1
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
    assert 20 < read < 500  # zip has bytes that nobody reads, such as the time


def test_damaged_array_gives_an_array_or_one_line(tmp_path: Path) -> None:
    """Here zip's checksum is right: another program damaged the array, then wrote the archive."""
    rng, refused = random.Random(0), 0
    content = as_npy(ARRAYS["images"])
    for _ in range(500):
        (tmp_path / "a.npz").write_bytes(zipped({"images": damaged(content, rng)}, zipfile.ZIP_STORED))
        try:
            read_arrays(tmp_path / "a.npz", "make it again")
        except StudyError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 150


SHAPES = ["(9000000000000000000,)", "(3000000000000,)", "(-1,)", "(2, 2, 2, 2)", "(1,)", "3", "('a',)", "((((((("]


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_that_the_bytes_do_not_have_is_refused(tmp_path: Path, shape: str) -> None:
    array = as_npy(np.zeros(24, np.uint8))
    changed = array.replace(b"(24,), }" + b" " * 40, f"{shape}, }}".encode().ljust(48))
    assert changed != array
    (tmp_path / "a.npz").write_bytes(zipped({"images": changed}, zipfile.ZIP_STORED))
    with pytest.raises(StudyError, match=r"a\.npz is broken or (is not an|does not fit)"):
        read_npz(tmp_path / "a.npz", "images")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\ufeff{}", "nul", b"\xff\xfe{}", b"\x00" * 9, "<<<<<<< HEAD\n{}"],
    ids=["lists", "dicts", "digits", "mark", "word", "utf-16", "zeros", "conflict"],
)
def test_damaged_json_is_one_line(tmp_path: Path, text: str | bytes) -> None:
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError, match=r"a\.json is not JSON \(.*\); delete it and run `dvc repro`"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (lambda path: read_npz(path, "images"), None, "does not exist; run `dvc repro` to make it or `dvc checkout`"),
        (
            lambda path: read_npz(path, "flags", "labels"),
            ARRAYS,
            "has no array named .*labels.*; delete it and run `dvc",
        ),
        (lambda path: read_npz(path, "images"), "", "is broken or is not an .npz file of arrays; delete it and run"),
        (lambda path: read_npz(path, "images"), "hello", "is broken or is not an .npz file of arrays; delete it"),
        (read_json, None, "does not exist; run `dvc repro` to make it"),
        (read_json, "", r"is not JSON \(.*\); delete it and run `dvc repro`"),
        (read_json, '{"a": 1,\n', r"is not JSON \(.*\); delete it and run `dvc repro`"),
    ],
)
def test_reading_error_names_the_file_and_the_command_in_one_line(
    tmp_path: Path, read: Callable[[Path], object], content: str | dict[str, np.ndarray] | None, message: str
) -> None:
    path = tmp_path / "result"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        write_npz(tmp_path / "result.npz", **content)
        path = tmp_path / "result.npz"
    with pytest.raises(StudyError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- arrays as text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "|u1"),
        ([0], "|u1"),
        ([3, 255, 0], "|u1"),
        ([256], "<u2"),
        ([65_535, 0, 255], "<u2"),
        (list(range(1000)), "<u2"),
    ],
    ids=len,
)
@pytest.mark.parametrize("given", [np.int64, np.uint16, ">i4"])
def test_array_is_read_back_from_its_text(values: list[int], kind: str, given: str | type[np.generic]) -> None:
    text = to_text(np.array(values, given))
    assert text.startswith(f"{kind}:") and text.isascii() and text.isprintable()
    read = from_text(text)
    assert read.tolist() == values and read.dtype == np.dtype(kind)


def test_index_of_an_image_in_a_large_dataset_is_read_back() -> None:
    indices = [0, 65_536, 1_000_000]
    text = to_text(np.array(indices))
    assert text.startswith("<u4:") and from_text(text).tolist() == indices


def test_text_of_ten_thousand_predictions_is_short() -> None:
    predictions = np.random.default_rng(0).integers(0, 10, 10_000)
    text = to_text(predictions)
    assert len(text) < 8000 and text == to_text(predictions.astype(np.uint8))
    np.testing.assert_array_equal(from_text(text), predictions)


@pytest.mark.parametrize("values", [[-1], [0, 2**32], [2**40, 1], [1.5, 2.0], [[1, 2]]])
def test_numbers_that_do_not_fit_are_refused(values: list[object]) -> None:
    with pytest.raises(ValueError, match="whole numbers from 0 to 4,294,967,295"):
        to_text(np.array(values))
