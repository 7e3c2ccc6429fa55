"""Faults in what comes from outside: servers, params.yaml, folders of images, terminals."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.faults.answers import Fault, answered, as_said
from bench.faults.processes import ENVIRONMENT
from bench.faults.server import serving
from bench.faults.study import Done, arguments, contents, run_stage
from robustness_study.core.errors import StudyError, shortened
from robustness_study.core.files import read_npz
from robustness_study.datasets.fetch import Limits, fetch
from tools.workspace import change_params

# --- servers -----------------------------------------------------------------------------------------------

SIZE = 300_000  # bytes of the file
LIMITS = Limits(400_000, connection_s=1, silence_s=1, window_s=0.5)
KEPT = 50_000  # bytes of an earlier try


def servers(rng: random.Random) -> Iterator[Fault]:
    """A download from a bad server keeps what it had; then a good server sends the rest."""
    good = rng.randbytes(SIZE)
    page = {"payload": b"<html>log in</html>", "ranges": False}
    bad: dict[str, dict[str, Any]] = {
        "a page for every request": {**page, "kind": "text/html"},
        "a page that calls itself an archive": page,
        "a byte now and then": {"drip_s": 0.02},
        "a body without end": {"payload": bytes(SIZE * 10), "sized": False, "ranges": False},
        "a body that is too long": {"payload": bytes(SIZE * 10), "ranges": False},
        "half of the file": {"cut": SIZE // 2},
        "half of the file, no ranges": {"cut": SIZE // 2, "ranges": False},
        "another file": {"payload": rng.randbytes(SIZE), "ranges": False},
        "another range": {"shift": 100},
        "an error": {"status": 503, "ranges": False},
        "silence": {"stall": 3.0},
    }
    for name, changes in bad.items():
        for kept in (0, KEPT):

            def answer(top: Path, changes: dict[str, Any] = changes, kept: int = kept) -> str:
                target = top / "data/external/file"
                target.parent.mkdir(parents=True)
                part = target.with_name("file.part")
                if kept:
                    part.write_bytes(good[:kept])
                wanted = hashlib.md5(good, usedforsecurity=False).hexdigest()
                with serving(good) as server, contextlib.redirect_stdout(None):
                    for setting, value in changes.items():
                        setattr(server, setting, value)
                    try:
                        fetch(server.url, target, wanted, LIMITS)
                        said = "same results"
                    except StudyError as error:
                        said = "refused" if len(shortened(str(error)).splitlines()) == 1 else f"unclear: {error}"
                    if said == "refused" and (part.stat().st_size if part.exists() else 0) < kept:
                        return "lost what was kept"
                with serving(good) as server, contextlib.redirect_stdout(None):
                    if not target.exists():
                        fetch(server.url, target, wanted, LIMITS)
                return said if target.read_bytes() == good else "believed"

            yield Fault("servers", f"{name}, {kept:,} bytes kept", answer)


# --- params ------------------------------------------------------------------------------------------------

TEXTS: dict[str, bytes] = {
    "nothing": b"",
    "a list": b"[1, 2]\n",
    "one word": b"word\n",
    "a bracket": b"split: [\n",
    "tabs": b"split:\n\ttrain_share: 0.2\n",
    "a class of Python": b"split: !!python/object/apply:os.system ['true']\n",
    "a reference to nothing": b"split: *nothing\n",
    "bytes that are no text": bytes(range(128, 256)),
    "zeros": bytes(4096),
    "UTF-16": "split: 1\n".encode("utf-16"),
    "10 MB": b"a: " + b"x" * 10_000_000,
    "one name of 200 kB": b"x" * 200_000 + b": 1\n",
    "nested lists": b"a: " + b"[" * 2000 + b"]" * 2000,
    "references that double": b"a: &a [1,1]\n"
    + b"".join(b"%c: &%c [*%c,*%c]\n" % (c + 1, c + 1, c, c) for c in range(97, 121)),
}
VALUES: tuple[Any, ...] = (None, True, "x" * 5000, "../../x", -1, 10**400, 1e308, [], [[]], {}, {"a": 1}, "", "\u202e")
KEYS = (
    "losses",
    "train_sets",
    "seeds",
    "download.dataset",
    "download.size",
    "split.train_share",
    "recipe",
    "recipes.cpu.epochs",
    "recipes.cpu.network",
    "attack.epsilons_255",
    "suite.corruptions",
    "embed.neighbours",
    "nonsense",
)


def params(rng: random.Random) -> Iterator[Fault]:
    """A params.yaml that is no params.yaml, or in which one value is wrong; `check` reads it."""

    def checked(top: Path) -> str:
        return answered(top, contents(top), "check", seconds=30)

    for name, content in TEXTS.items():

        def answer(top: Path, content: bytes = content) -> str:
            (top / "params.yaml").write_bytes(content)
            return checked(top)

        yield Fault("params", name, answer)
    put: dict[str, Callable[[Path], object]] = {
        "a pipe": os.mkfifo,
        "a device": lambda path: path.symlink_to("/dev/zero"),
        "a folder": Path.mkdir,
        "missing": lambda path: None,
    }
    for name, make in put.items():

        def instead(top: Path, make: Callable[[Path], object] = make) -> str:
            (top / "params.yaml").unlink()
            make(top / "params.yaml")
            return as_said(run_stage(top, arguments("check"), 30)) or "believed"

        yield Fault("params", name, instead)
    for key in KEYS:
        for value in rng.sample(VALUES, 3):

            def of_key(top: Path, key: str = key, value: Any = value) -> str:
                change_params(top / "params.yaml", {key: value})
                return checked(top)

            yield Fault("params", f"{key}: {repr(value)[:20]}", of_key)


# --- images ------------------------------------------------------------------------------------------------


def image(number: int, size: int = 8) -> Image.Image:
    """An image like no other."""
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8))


def folder_of_images(top: Path) -> Path:
    """A folder with two classes of ten images for training and four for testing."""
    for split, count in (("train", 10), ("test", 4)):
        for number, label in enumerate(("cat", "dog")):
            place = top / "images" / split / label
            place.mkdir(parents=True)
            for each in range(count):
                image(1000 * number + 100 * (split == "test") + each).save(place / f"{each}.png")
    return top / "images"


def emptied(folder: Path) -> None:
    """Delete the files of a folder."""
    for path in folder.iterdir():
        path.unlink()


def images(rng: random.Random) -> Iterator[Fault]:
    """One file of a folder of images is not what it seems. `download` refuses it, or uses the others only."""
    whole = Path("train/cat/9.png")

    def damaged(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
        return lambda path: path.write_bytes(change(path.read_bytes()))

    def instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
        def put(path: Path) -> None:
            path.unlink()
            make(path)

        return put

    faults: dict[str, Callable[[Path], object]] = {
        "empty": damaged(lambda content: b""),
        "half": damaged(lambda content: content[: len(content) // 2]),
        "no image": damaged(lambda content: b"this is text"),
        "a page": damaged(lambda content: b"<html></html>"),
        "a flipped bit": damaged(lambda content: content[:60] + bytes([content[60] ^ 1]) + content[61:]),
        "a size of 60,000 pixels": damaged(lambda c: c[:16] + (60_000).to_bytes(4) * 2 + c[24:]),
        "a size of 0": damaged(lambda c: c[:16] + bytes(8) + c[24:]),
        "a pipe": instead(os.mkfifo),
        "a device": instead(lambda path: path.symlink_to("/dev/zero")),
        "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
        "a link to itself": instead(lambda path: path.symlink_to(path.name)),
        "a folder": instead(Path.mkdir),
        "a copy from the test images": lambda path: path.write_bytes((path.parents[2] / "test/cat/0.png").read_bytes()),
        "a lie about its kind": instead(lambda path: image(7).save(path, "GIF")),
        "a name with a line end": lambda path: path.rename(path.with_name("a\nb.png")),
        "a name that is no text": lambda path: path.rename(os.fsdecode(os.fsencode(path.parent) + b"/\xff.png")),
        "a class of formulas": lambda path: path.parent.rename(path.parent.with_name("=1+1")),
        "a class of escapes": lambda path: path.parent.rename(path.parent.with_name("\x1b[31m")),
        "a class without images": lambda path: emptied(path.parent),
        "no test images": lambda path: emptied(path.parents[2] / "test/dog"),
    }
    for name, put in faults.items():

        def answer(top: Path, put: Callable[[Path], object] = put) -> str:
            place = folder_of_images(top)
            change_params(top / "params.yaml", {"download.dataset": "folder", "download.folder": str(place)})
            good = run_stage(top, arguments("download"))
            if good.status != 0:
                return f"unclear: the good folder is refused: {good.said}"
            before = read_npz(top / "data/raw/train.npz", "images")[0]
            put(place / whole)
            done = run_stage(top, arguments("download"), 30)
            if (said := as_said(done)) is not None:
                return said
            after = read_npz(top / "data/raw/train.npz", "images")[0]
            return "same results" if {each.tobytes() for each in after} <= others(before, place / whole) else "believed"

        yield Fault("folders of images", name, answer)


def others(before: np.ndarray, path: Path) -> set[bytes]:
    """The pixels of all training images of the good folder, and of what the fault's file honestly holds now."""
    found = {each.tobytes() for each in before}
    if path.is_file():
        with Image.open(path) as opened:
            if opened.width == opened.height:
                found.add(np.asarray(opened.convert("RGB")).tobytes())
    return found


# --- terminals ---------------------------------------------------------------------------------------------


def terminals(rng: random.Random) -> Iterator[Fault]:
    """A terminal that cannot show what a stage prints, or that is gone."""
    places: dict[str, tuple[str, dict[str, str]]] = {
        "ASCII": ("", {"PYTHONIOENCODING": "ascii"}),
        "EBCDIC": ("", {"PYTHONIOENCODING": "cp037"}),
        "the locale C": ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        "a full device": (">/dev/full 2>/dev/full", {}),
        "closed": (">&- 2>&-", {}),
        "no input": ("<&-", {}),
    }
    for name, (redirection, settings) in places.items():
        for stage in ("stress", "compare"):

            def answer(
                top: Path, redirection: str = redirection, settings: dict[str, str] = settings, stage: str = stage
            ) -> str:
                before = contents(top)
                command = f"{sys.executable} -m stages.{' '.join(arguments(stage))} {redirection}"
                done = subprocess.run(
                    command, shell=True, cwd=top, env={**ENVIRONMENT, **settings}, check=False, capture_output=True
                )
                said = as_said(Done(done.returncode, done.stderr.decode(errors="replace")))
                return said or ("same results" if contents(top) == before else "believed")

            yield Fault("terminals", f"{name}: {stage}", answer)
