"""What to do about a broken output of DVC, and the program that looks for broken ones."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_cells import CELLS, change_result, write_study

from robustness_study.core import cached
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, read_record, write_npz
from tools import verify, workspace

FILE, FOLDER = Path("data/one.npz"), Path("models/a")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def flip(path: Path, at: int = -1) -> None:
    """Flip a bit as a disk does: the mode and the times of the file stay as they are."""
    before = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def keep(content: bytes, suffix: str = "") -> Path:
    """An object of DVC's cache, read-only as DVC leaves it."""
    digest = md5(content)
    path = Path(f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}{suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The working folder: two outputs that DVC keeps, a file and a folder of two files. Name → object of the cache."""
    monkeypatch.chdir(tmp_path)
    write_npz(FILE, images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.zeros(2, np.uint8))
    FOLDER.mkdir(parents=True)
    for name in ("notes", "weights"):
        (FOLDER / name).write_text(f"of {name}")
    files = {name: keep((FOLDER / name).read_bytes()) for name in ("notes", "weights")}
    listed = [{"md5": md5((FOLDER / name).read_bytes()), "relpath": name} for name in files]
    listing = json.dumps(listed).encode()
    files |= {"one": keep(FILE.read_bytes()), "listing": keep(listing, ".dir")}
    outputs = [{"path": FILE.as_posix(), "md5": md5(FILE.read_bytes())}]
    outputs.append({"path": FOLDER.as_posix(), "md5": f"{md5(listing)}.dir"})
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"make": {"outs": outputs}}}))
    return files


# --- what to do ---------------------------------------------------------------------------------------------


def test_a_file_that_only_the_folder_has_wrong_comes_back_from_the_cache(objects: dict[str, Path]) -> None:
    flip(FILE)
    assert cached.remedy(FILE) == f"delete {FILE} and run `dvc checkout {FILE}`"
    flip(FOLDER / "weights")
    assert cached.remedy(FOLDER / "weights") == f"delete {FOLDER} and run `dvc checkout {FOLDER}`"


@pytest.mark.parametrize("linked", [True, False], ids=["one file for both", "a copy"])
def test_a_file_that_is_wrong_in_the_cache_too_is_made_again(objects: dict[str, Path], linked: bool) -> None:
    for path, output, name in ((FILE, FILE, "one"), (FOLDER / "weights", FOLDER, "weights")):
        flip(objects[name])
        if linked:
            path.unlink()
            os.link(objects[name], path)
        else:
            flip(path)
        assert cached.remedy(path) == f"delete {output} and {objects[name]}, then run `dvc repro`"


def test_a_file_with_the_bytes_of_the_cache_is_made_again(objects: dict[str, Path]) -> None:
    """A stage wrote it broken, and DVC kept it so."""
    assert cached.remedy(FILE) == f"delete {FILE} and {objects['one']}, then run `dvc repro`"


def test_without_an_object_or_a_lock_the_stage_makes_it_again(objects: dict[str, Path]) -> None:
    shutil.rmtree(".dvc")
    assert cached.remedy(FILE) == f"delete {FILE} and run `dvc repro`"
    assert cached.remedy(FOLDER / "weights") == f"delete {FOLDER} and run `dvc repro`"
    for content in ("", "[", "a: 1", "\0"):
        Path("dvc.lock").write_text(content)
        assert cached.remedy(FILE) == "delete it and run `dvc repro`"
    assert cached.remedy("data/another.npz") == "delete it and run `dvc repro`"


@pytest.mark.parametrize("config", ["config", "config.local"])
def test_the_cache_is_where_dvc_is_told_that_it_is(objects: dict[str, Path], tmp_path: Path, config: str) -> None:
    shutil.move(".dvc/cache", tmp_path / "elsewhere")
    Path(".dvc", config).write_text("[cache]\n    dir = ../elsewhere\n")
    moved = Path(".dvc/../elsewhere") / objects["one"].relative_to(".dvc/cache")
    assert cached.remedy(FILE) == f"delete {FILE} and {moved}, then run `dvc repro`"


def test_the_message_for_a_flipped_bit_names_both_files(objects: dict[str, Path]) -> None:
    where = FILE.read_bytes().index(bytes(90))  # among the pixels
    for path in (FILE, objects["one"]):
        flip(path, where)
    with pytest.raises(StudyError) as caught:
        read_npz(FILE, "images")
    assert str(caught.value).endswith(f"; delete {FILE} and {objects['one']}, then run `dvc repro`")


# --- python -m tools.verify ---------------------------------------------------------------------------------


def problems(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the program prints; its status is that there is something."""
    status = verify.main()
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    number = len(lines)
    assert status == (number > 0) and all(len(line) <= 300 for line in lines)
    assert printed.err.endswith(f"; {number} {'problem' if number == 1 else 'problems'}\n")
    return lines


@pytest.fixture
def results(objects: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write_study()


def test_a_good_study_has_no_problems(
    objects: dict[str, Path], results: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify.main() == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    # Of the cache: the file, the listing, two files of the folder. Of the folder: both outputs.
    assert printed.err == "2 outputs in dvc.lock, 0 of them not here; 6 files and folders read; 0 problems\n"


@pytest.mark.parametrize("name", ["one", "weights", "listing"])
def test_a_flipped_bit_in_the_cache_is_found(
    name: str, objects: dict[str, Path], results: None, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(objects[name])
    (line,) = problems(capsys)
    assert line.startswith(f"{objects[name]} ") and "delete it" in line and "`dvc repro`" in line


@pytest.mark.parametrize("path", [FILE, FOLDER / "notes"], ids=["a file", "a file in a folder"])
def test_a_flipped_bit_in_the_folder_is_found(
    path: Path, objects: dict[str, Path], results: None, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(path)
    (line,) = problems(capsys)
    output = path if path == FILE else FOLDER
    assert line == f"{path} is not as dvc.lock says; delete {output} and run `dvc checkout {output}`"


def test_results_that_contradict_each_other_are_found(
    objects: dict[str, Path], results: None, capsys: pytest.CaptureFixture[str]
) -> None:
    change_result(CELLS[0], "attack.json", images=3)
    (line,) = problems(capsys)
    assert "attack.json: images is 3, but the other results say 26" in line


def test_files_that_are_not_here_are_no_problem(
    objects: dict[str, Path], results: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a fresh clone there is neither a cache nor an output that it keeps."""
    for name in (".dvc", "data", "models"):
        shutil.rmtree(name)
    assert verify.main() == 0
    assert "2 outputs in dvc.lock, 2 of them not here; 0 files" in capsys.readouterr().err


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"more")])
def test_a_folder_without_a_cache_is_read_as_a_whole(
    change: Callable[[Path], object], objects: dict[str, Path], results: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the tables and figures in git, which DVC does not cache."""
    shutil.rmtree(".dvc")
    change(FOLDER / "notes")
    assert problems(capsys) == [f"{FOLDER} is not as dvc.lock says; delete {FOLDER} and run `dvc repro`"]


NO_TEXT = "stages: {a: {outs: [{path: a, md5: 12}]}}"


@pytest.mark.parametrize("content", [None, "", "stages: [", "stages: {a: {outs: [{path: a}]}}", NO_TEXT])
def test_nothing_is_said_to_be_good_without_a_lock(content: str | None, objects: dict[str, Path]) -> None:
    Path("dvc.lock").unlink()
    if content is not None:
        Path("dvc.lock").write_text(content)
    with pytest.raises(StudyError, match=r"dvc\.lock cannot be read \(\w+\); restore it with git"):
        verify.main()


# --- with DVC itself ----------------------------------------------------------------------------------------

MAKE = """
from pathlib import Path
import numpy as np
from robustness_study.core.files import write_npz, write_record
write_npz("data/one.npz", images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.zeros(2, np.uint8))
write_record("models/a/notes.json", {"a": 1})
with Path("runs").open("a") as runs:
    runs.write("x")
"""
READ: dict[str, Callable[[], object]] = {
    "data/one.npz": lambda: read_npz("data/one.npz", "images"),
    "models/a/notes.json": lambda: read_record("models/a/notes.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["copy", "hardlink"])
@pytest.mark.parametrize("name", READ)
def test_following_the_message_heals(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the object of the cache rotten, `dvc repro` alone brings the rotten bytes back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(workspace.ROOT))

    def dvc(*arguments: str) -> None:
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, check=True, capture_output=True, env=os.environ)

    Path("make.py").write_text(MAKE)
    Path("dvc.yaml").write_text(
        f"stages:\n  make:\n    cmd: {sys.executable} make.py\n    outs: [data/one.npz, models/a]\n"
    )
    dvc("init", "--no-scm", "-q")
    dvc("config", "cache.type", kind)
    dvc("repro", "-q")
    good = Path(name).read_bytes()
    found = [path for path in Path(".dvc/cache/files").rglob("*") if path.is_file() and path.read_bytes() == good]
    assert len(found) == 1
    where = good.index(bytes(90)) if name.endswith("npz") else good.index(b"1")
    flip(found[0], where)
    if not os.path.samefile(found[0], name):
        flip(Path(name), where)
    dvc("repro", "-q")
    with pytest.raises(StudyError) as caught:
        READ[name]()
    advice = re.search(r"delete (\S+) and (\S+), then run `dvc repro`$", str(caught.value))
    assert advice is not None, caught.value
    for each in advice.groups():
        shutil.rmtree(each) if Path(each).is_dir() else Path(each).unlink()
    dvc("repro", "-q")
    assert Path(name).read_bytes() == good and Path("runs").read_text() == "xx"
