"""Runs every stage of a tiny study, without DVC, in a forked process: from `check` to `headline`."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_json, write_npz
from robustness_study.datasets.base import Dataset, describe, validate


def made_dataset(train: list[int], test: list[int], size: int) -> Dataset:
    """Random images of `len(train)` classes; `train` and `test` are the numbers of images of each class."""
    rng = np.random.default_rng(0)
    parts = []
    for counts in (train, test):
        labels = np.repeat(np.arange(len(counts)), counts).astype(np.uint8)
        means = np.linspace(60, 190, len(counts))[labels][:, None, None, None]
        noise = rng.normal(0, 40, (len(labels), size, size, 3))
        parts += [np.clip(means + noise, 0, 255).astype(np.uint8), labels]
    classes = [f"class {number}" for number in range(len(train))]
    return Dataset("made", "a test", "none", False, classes, *parts)


def write_raw(top: Path, made: Dataset, size: int) -> None:
    """What the stage `download` writes."""
    validate(made, size)
    for part in ("train", "test"):
        arrays = {what: getattr(made, f"{part}_{what}") for what in ("images", "labels")}
        write_npz(top / f"data/raw/{part}.npz", **arrays)
    write_json(top / "data/raw/source.json", describe(made, size))


def commands(values: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Every stage after `download` with its arguments, in an order that DVC may choose."""
    cells = list(product(values["losses"], values["train_sets"], values["seeds"]))

    def each(stage: str, seeds: list[int]) -> Iterator[tuple[str, ...]]:
        for loss, train_set, seed in cells:
            if seed in seeds:
                yield stage, "--loss", loss, "--train-set", train_set, "--seed", str(seed)

    first = values["seeds"][:1]
    yield ("check_sizes",)
    yield from (("split", "--seed", str(seed)) for seed in values["seeds"])
    yield from (("corrupt", "--split", split) for split in ("train", "test"))
    yield from (("training_set", "--train-set", name) for name in values["train_sets"])
    yield ("suite",)
    for stage in ("train", "evaluate", "attack", "stress"):
        yield from each(stage, values["seeds"])
    for stage in ("embed", "render"):
        yield from each(stage, first)
    yield from each("publish", values["seeds"])
    yield "transfer", "--seed", str(first[0])
    yield next(each("stability", first))
    yield ("publish_shared",)
    yield ("compare",)
    yield "headline", "--loss", values["loss"]


def run_stage(name: str, *arguments: str) -> None:
    """Run a stage's `main` here, with these arguments."""
    sys.argv = [name, *arguments]
    importlib.import_module(f"stages.{name}").main()


def fault_of(top: Path, values: dict[str, Any], made: Dataset) -> str | None:
    """Run the whole study in the folder `top`; None, or the stage that failed with its error."""
    top.mkdir(parents=True)

    def work() -> str | None:
        os.chdir(top)
        Path("params.yaml").write_text(json.dumps(values), encoding="utf-8")
        name = "check"
        try:
            run_stage("check")
            write_raw(top, made, values["download"]["size"])
            for name, *arguments in commands(values):
                run_stage(name, *arguments)
        except StudyError as error:
            return f"{name}: {error}"
        except BaseException:
            return f"{name}: {traceback.format_exc()}"
        return None

    return in_a_fork(top, work)


def in_a_fork(top: Path, work: Callable[[], str | None]) -> str | None:
    """The result of `work`, run in a forked process whose output goes to a file in `top`."""
    answer, log = top / "answer.json", top / "log.txt"
    child = os.fork()
    if child == 0:
        try:
            descriptor = os.open(log, os.O_CREAT | os.O_WRONLY)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            answer.write_text(json.dumps(work()))
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    if not answer.exists():
        return f"the process died; it wrote: {log.read_text()}"
    return json.loads(answer.read_text())
