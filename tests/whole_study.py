"""Runs every stage of tiny studies without DVC, each in a forked process: from `check` to `headline`.

The tests run this file as a program.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from preloaded import packages
from torchvision.models import resnet

from robustness_study import plotting
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_npz, write_record
from robustness_study.core.imports import ROOT
from robustness_study.datasets.base import Dataset, describe, validate
from robustness_study.networks import wide_resnet


def made_dataset(train: list[int], test: list[int], size: int) -> Dataset:
    """Random images of `len(train)` classes; `train` and `test` are the numbers of images of each class."""
    rng = np.random.default_rng(0)
    parts: list[np.ndarray] = []
    for counts in (train, test):
        labels = np.repeat(np.arange(len(counts)), counts).astype(np.uint8)
        means = np.linspace(60, 190, len(counts))[labels][:, None, None, None]
        noise = rng.normal(0, 40, (len(labels), size, size, 3))
        parts += [np.clip(means + noise, 0, 255).astype(np.uint8), labels]
    classes = [f"class {number}" for number in range(len(train))]
    train_images, train_labels, test_images, test_labels = parts
    return Dataset("made", "a test", "none", False, classes, train_images, train_labels, test_images, test_labels)


def write_raw(top: Path, made: Dataset, size: int) -> None:
    """What the stage `download` writes."""
    validate(made, size)
    for part in ("train", "test"):
        arrays = {what: getattr(made, f"{part}_{what}") for what in ("images", "labels")}
        write_npz(top / f"data/raw/{part}.npz", **arrays)
    write_record(top / "data/raw/source.json", describe(made, size))
    write_record(top / "data/raw/files.json", {"training": None, "test": None})


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
    yield ("natural",)
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


@functools.cache
def import_all() -> None:
    """Import what the stages import, once and for all forks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in packages():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for path in sorted((ROOT / "stages").glob("[a-z]*.py")):
            importlib.import_module(f"stages.{path.stem}")


DIVERGED = "lower the recipe's peak_learning_rate"
LOW = 1e-6  # a peak learning rate with which the few steps of these studies change almost nothing
SHARE = 0.6  # of the training images, so that they are more than a batch
ENOUGH = 8  # images in a batch: where two are equal, as they can be in a batch of two, gradients of batch norm explode


def fault_of(top: Path, values: dict[str, Any], made: Dataset) -> str | None:
    """Run the whole study in the folder `top`; None, or the stage that failed with its error.

    Whether a training with extreme settings diverges depends on the processor's rounding. If it does, the study runs
    again in a folder beside with what the error advises.
    """
    import_all()
    top.mkdir(parents=True)
    (top / "params.yaml").write_text(json.dumps(values), encoding="utf-8")
    for name, *arguments in (("check",), *commands(values)):
        if name == "check_sizes":
            write_raw(top, made, values["download"]["size"])
        said = in_a_fork(top, name, *arguments)
        if said is None:
            continue
        recipe = values["recipes"][values["recipe"]]
        if name == "train" and DIVERGED in said and recipe["peak_learning_rate"] > LOW:
            advised = {"peak_learning_rate": LOW, "batch_size": max(ENOUGH, recipe["batch_size"])}
            share = values["split"]["train_share"]
            enough = {"split": values["split"] | {"train_share": max(SHARE, share)}}  # images for such a batch
            lowered = values | enough | {"recipes": {values["recipe"]: recipe | advised}}
            return fault_of(top.with_name(f"{top.name}-lower"), lowered, made)
        return f"{name}: {said}"
    return None


def in_a_fork(top: Path, *command: str) -> str | None:
    """Run a stage in a forked process in the folder `top`; None, or its error. Its output goes to a file there.

    As with DVC, a stage has a process of its own: UMAP's threads would make torch slow in the stages that follow.
    """
    answer, log = top / "answer.txt", top / "log.txt"
    child = os.fork()
    if child == 0:
        try:
            os.chdir(top)
            descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            warnings.simplefilter("default")  # pytest's setting would make a warning an error
            answer.write_text(error_of(*command), encoding="utf-8")
            sys.stdout.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    if not answer.exists():
        return f"the process died; it wrote: {log.read_text(encoding='utf-8')}"
    said = answer.read_text(encoding="utf-8")
    answer.unlink()
    return said or None


def error_of(*command: str) -> str:
    """Run a stage here; the text of its error, or an empty text."""
    try:
        run_stage(*command)
    except StudyError as error:
        return str(error)
    except BaseException:
        return traceback.format_exc()
    return ""


class Narrow(resnet.ResNet):  # type: ignore[misc]  # torchvision has no types
    """ResNet-18 with an eighth of the channels."""

    def _make_layer(self, block: Any, planes: int, *others: Any, **named: Any) -> Any:
        return super()._make_layer(block, planes // 8, *others, **named)


def make_fast() -> None:
    """Networks of the same layers with few channels, small pictures. Nothing is compiled: that takes a minute each."""
    resnet.resnet18 = lambda weights: Narrow(resnet.BasicBlock, [2, 2, 2, 2])
    wide_resnet.WIDEN_FACTOR = 1
    torch.compile = lambda function: function  # type: ignore[assignment]
    plotting.DPI = 20


def main() -> None:
    """Run the studies that standard input gives as JSON: folder, params, numbers of images. Print their faults."""
    make_fast()
    faults = []
    for top, values, train, test in json.load(sys.stdin):
        made = made_dataset(train, test, values["download"]["size"])
        faults.append(fault_of(Path(top), values, made))
    print(json.dumps(faults))


if __name__ == "__main__":
    main()
