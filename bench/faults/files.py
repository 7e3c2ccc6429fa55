"""Faults in what a stage reads: rotten bytes, something else in the place of a file, results that were changed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.faults.answers import Fault, answered, as_said
from bench.faults.study import LOSSES, arguments, contents, run_stage, start
from robustness_study.core.files import read_arrays, read_record, write_npz, write_record
from robustness_study.training import engine
from robustness_study.training.checkpoints import Checkpoints

KEY = f"{LOSSES[0]}-clean-0"
CELL = f"reports/cells/{LOSSES[0]}/clean-0"
# Files of the study → the stage that reads them.
READ = {
    "data/raw/train.npz": "split",
    "data/raw/test.npz": "suite",
    "data/raw/files.json": "split",
    "data/raw/source.json": "check_sizes",
    "data/split/0.npz": "train",
    "data/corrupted/train.npz": "evaluate",
    "data/corrupted/test.npz": "evaluate",
    "data/training_sets/clean.npz": "train",
    "data/suite/fog.npz": "stress",
    f"models/{KEY}/weights.safetensors": "evaluate",
    f"models/{KEY}/model.json": "stress",
    f"data/evaluated/{KEY}.npz": "attack",
    f"data/cells/{KEY}/temperature.json": "stress",
    "data/natural/sets.json": "evaluate",
    f"data/attacked/{KEY}.npz": "embed",
    f"data/embedded/{KEY}.npz": "render",
    f"data/embedded/{KEY}.json": "render",
    f"{CELL}/evaluate.json": "headline",
    f"{CELL}/attack.json": "headline",
    f"{CELL}/stress.json": "headline",
    f"{CELL}/curves.csv": "headline",
    f"data/cells/{KEY}/evaluate.json": "publish",
    f"data/cells/{KEY}/attack.json": "publish",
    f"data/cells/{KEY}/stress.json": "publish",
    f"data/cells/{KEY}/curves.csv": "publish",
    "data/shared/transfer.json": "publish_shared",
    "data/shared/stability.json": "publish_shared",
    f"reports/planes/{KEY}/plane.json": "compare",
    "reports/transfer.json": "compare",
    "reports/stability.json": "compare",
}
# Values that follow from the predictions of single images, or that tie a file to its model.
FOLLOWS: dict[str, list[tuple[Any, ...]]] = {
    f"{CELL}/evaluate.json": [
        ("model",),
        ("weights_sha256",),
        ("curves_sha256",),
        ("sets", 0, "accuracy"),
        ("sets", 3, "images"),
        ("sets", 3, "knn_accuracy"),
        ("sets", 4, "probe_accuracy"),
        ("details", "test_clean", "per_class", "3", "recall"),
    ],
    f"{CELL}/attack.json": [
        ("model",),
        ("weights_sha256",),
        ("images_sha256",),
        ("images",),
        ("ladder", 1, "accuracy"),
        ("ladder", 2, "accuracy_8_bit"),
        ("ladder", 2, "accuracy_of_clean_correct"),
        ("attacks", "pgd", "images"),
        ("labels",),
    ],
    f"{CELL}/stress.json": [
        ("model",),
        ("weights_sha256",),
        ("temperature",),
        ("rows", 2, "accuracy"),
        ("images",),
        ("labels",),
    ],
    f"reports/planes/{KEY}/plane.json": [("model",), ("weights_sha256",)],
    "reports/transfer.json": [("rows", 1, "accuracy"), ("images",), ("weights_sha256", KEY)],
    "reports/stability.json": [("model",), ("weights_sha256",)],
}
# Outputs of a model, in the place of those of another model → the stage that reads them.
OF_A_MODEL = {
    "models/{}": "evaluate",
    "data/evaluated/{}.npz": "attack",
    "data/attacked/{}.npz": "embed",
    "data/embedded/{}.npz": "render",
}


def half(array: Any) -> Any:
    """The first half of an array."""
    return array[: len(array) // 2]


# Arrays that are well formed, but do not fit the other files. File: array → change.
SHAPES: dict[str, Callable[[Any], Any]] = {
    "data/evaluated/{}.npz: test_clean_logits": half,
    "data/evaluated/{}.npz: reference_features": half,
    "data/evaluated/{}.npz: test_clean_features": lambda array: array[:, 1:],
    "data/attacked/{}.npz: features": half,
    "data/embedded/{}.npz: clean": half,
    "data/embedded/{}.npz: attacked": lambda array: array[:, :1],
    "data/corrupted/test.npz: images": half,
    "data/corrupted/train.npz: images": lambda array: array[:, :4, :4],
    "data/training_sets/clean.npz: images": half,
    "data/suite/fog.npz: images": lambda array: array[:3],
    "data/split/0.npz: val": lambda array: array[1:],
    "data/split/0.npz: train": half,
}
RECORDS = [name for name in READ if name.endswith(".json")]


def flip(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def zeros(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes(min(512, len(content) - at)) + content[at + 512 :]


def more(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + rng.randbytes(16) + content[at:]


def empty(content: bytes, rng: random.Random) -> bytes:
    return b""


DAMAGES = {"a flipped bit": flip, "cut": cut, "zeros": zeros, "more bytes": more, "empty": empty}


def rotten(rng: random.Random) -> Iterator[Fault]:
    """Each file with each damage."""
    for name, stage in READ.items():
        for damage, apply in DAMAGES.items():
            seed = rng.getrandbits(32)

            def answer(top: Path, name: str = name, stage: str = stage, apply: Any = apply, seed: int = seed) -> str:
                (top / name).write_bytes(apply((top / name).read_bytes(), random.Random(seed)))
                return answered(top, contents(top), stage)

            yield Fault("rotten bytes", f"{name}: {damage}", answer)


def irregular(rng: random.Random) -> Iterator[Fault]:
    """A folder, a pipe, a device without an end, or nothing in the place of a file."""

    def folder(path: Path) -> None:
        path.mkdir()

    def pipe(path: Path) -> None:
        os.mkfifo(path)

    def endless(path: Path) -> None:
        path.symlink_to("/dev/zero")

    def missing(path: Path) -> None:
        pass

    for name in READ:
        for put in (folder, pipe, endless, missing):

            def answer(top: Path, name: str = name, put: Callable[[Path], None] = put) -> str:
                (top / name).unlink()
                put(top / name)
                return as_said(run_stage(top, arguments(READ[name]), 30)) or "believed"

            yield Fault("not a file", f"{name}: {put.__name__}", answer)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all single values in JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, (*path, key))
    if not isinstance(value, dict | list):
        yield path


def edited(rng: random.Random) -> Iterator[Fault]:
    """A value of a result that is changed by hand; a result of another model in its place."""
    for name in RECORDS:
        for _ in range(5):

            def answer(top: Path, name: str = name, at: int = rng.getrandbits(32)) -> str:
                written = json.loads((top / name).read_text(encoding="utf-8"))
                *inner, last = random.Random(at).choice(list(leaves(written)))
                place = written
                for key in inner:
                    place = place[key]
                old = place[last]
                place[last] = old + 1 if isinstance(old, int | float) and not isinstance(old, bool) else f"{old}x"
                (top / name).write_text(json.dumps(written), encoding="utf-8")
                return answered(top, contents(top), READ[name])

            yield Fault("edited results", f"{name}: one value", answer)
    for part in ("evaluate.json", "attack.json", "stress.json", "curves.csv"):

        def swapped(top: Path, part: str = part) -> str:
            shutil.copy(top / f"reports/cells/{LOSSES[1]}/clean-0/{part}", top / CELL / part)
            return answered(top, contents(top), "headline")

        yield Fault("edited results", f"{part} of another model", swapped)
    for name, stage in OF_A_MODEL.items():

        def moved(top: Path, name: str = name, stage: str = stage) -> str:
            own, other = (top / name.format(f"{loss}-clean-0") for loss in LOSSES)
            if own.is_dir():
                shutil.rmtree(own)
                shutil.copytree(other, own)
            else:
                shutil.copy(other, own)
            return answered(top, contents(top), stage)

        yield Fault("edited results", f"{name.format('KEY')} of another model", moved)
    for name, change in SHAPES.items():
        path, _, array = name.partition(": ")

        def reshaped(top: Path, path: str = path, array: str = array, change: Any = change) -> str:
            place = top / path.format(KEY)
            arrays = read_arrays(place, None)
            arrays[array] = change(arrays[array])
            write_npz(place, **arrays)
            return answered(top, contents(top), READ[path.format(KEY)])

        yield Fault("edited results", f"{name.format('KEY')} of another shape", reshaped)


# --- results that contradict each other --------------------------------------------------------------------


def contradicting(rng: random.Random) -> Iterator[Fault]:
    """A value that does not follow from the predictions, in a file whose digest was made to fit."""
    for name, places in FOLLOWS.items():
        for place in places:

            def answer(top: Path, name: str = name, place: tuple[Any, ...] = place) -> str:
                written = read_record(top / name)
                inner: Any = written
                for key in place[:-1]:
                    inner = inner[key]
                old = inner[place[-1]]
                inner[place[-1]] = old + 0.25 if isinstance(old, float) else old + 1 if isinstance(old, int) else "x"
                write_record(top / name, written)
                return answered(top, contents(top), READ[name])

            yield Fault("contradictions", f"{name}: {'.'.join(map(str, place))}", answer)


# --- checkpoints -------------------------------------------------------------------------------------------


def checkpoints(rng: random.Random) -> Iterator[Fault]:
    """A checkpoint that lost some bits: training goes on from a good one only."""
    for damage, apply in DAMAGES.items():
        for _ in range(2):

            def answer(top: Path, apply: Any = apply, seed: int = rng.getrandbits(32)) -> str:
                before = contents(top)
                child = start(top, arguments("train"), at_every_step)
                kept: list[Path] = []
                until = time.monotonic() + 60
                while not kept and time.monotonic() < until:
                    time.sleep(0.005)
                    kept = list((top / f".checkpoints/{KEY}").glob("[!.]*.safetensors"))
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                if not kept or not kept[0].exists():
                    return "unclear: the training ended before it was stopped"
                kept[0].write_bytes(apply(kept[0].read_bytes(), random.Random(seed)))
                return answered(top, before, "train")

            yield Fault("rotten checkpoints", damage, answer)


def at_every_step() -> None:
    """Have the training save a checkpoint at every step, and wait a little, so that it can be stopped."""
    save = Checkpoints.save

    def slowly(self: Checkpoints, tensors: Any, notes: Any) -> None:
        save(self, tensors, notes)
        time.sleep(0.5)

    engine.CHECKPOINT_INTERVAL_S = -1.0
    Checkpoints.save = slowly  # type: ignore[method-assign]  # only in the forked process
