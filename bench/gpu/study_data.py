"""The images that whole models train on: CIFAR-10 as the study splits and corrupts it, without files of DVC's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.gpu.setting import CLASSES, Setting
from robustness_study import datasets, training_sets
from robustness_study.core import params
from robustness_study.core.files import read_npz
from robustness_study.corruptions.copies import mixed_copies
from robustness_study.datasets.base import VARIABLE, Places
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.download import Download
from robustness_study.split import split

SEED = 0  # the study's first


@dataclass(frozen=True)
class Data:
    """Images uint8 N×32×32×3 for training and test, clean and corrupted; labels uint8 N; the first seed's split."""

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    train_labels: np.ndarray
    test_labels: np.ndarray
    indices: dict[str, np.ndarray]


def raw_images(given: Setting) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, test images and labels.

    From data/raw/ if `dvc repro` was here, else as `download` gets them. If tiny: ten colours with noise. Raises
    StudyError if the images cannot be had.
    """
    if given.tiny:
        rng = np.random.default_rng(0)
        labels = (np.arange(240) % CLASSES).astype(np.uint8)
        images = (labels[:, None, None, None] * 20 + rng.integers(0, 50, (240, 32, 32, 3))).astype(np.uint8)
        return images[:200], labels[:200], images[200:], labels[200:]
    kept = [Path(f"data/raw/{name}.npz") for name in ("train", "test")]
    if all(path.exists() for path in kept):
        (train_images, train_labels), (test_images, test_labels) = (read_npz(path, "images", "labels") for path in kept)
        return train_images, train_labels, test_images, test_labels
    choice = params.validated("download", given.params["download"], Download)
    archive = os.environ.get(VARIABLE)
    found = datasets.load(choice, Places(Path(archive) if archive else None, Path("data/external")))
    return found.train_images, found.train_labels, found.test_images, found.test_labels


def load(given: Setting) -> Data:
    """All of it. The corrupted copies are those of the stage `corrupt` without `corrupt.before`."""
    train_images, train_labels, test_images, test_labels = raw_images(given)
    section = params.validated("corrupt", given.params["corrupt"], Corrupt)
    strengths = section.mix.strengths()
    copies = {
        name: mixed_copies(images, strengths, section.seed, name)[0]
        for name, images in (("train", train_images), ("test", test_images))
    }
    share = 0.5 if given.tiny else given.params["split"]["train_share"]
    train, val = split(train_labels, share, SEED)
    return Data(
        {"clean": train_images, "corrupted": copies["train"]},
        {"clean": test_images, "corrupted": copies["test"]},
        train_labels,
        test_labels,
        {"train": train, "val": val},
    )


def training_images(data: Data, train_set: str, given: Setting) -> np.ndarray:
    """The images of a training set, as the stage `training_set` makes them."""
    config = training_sets.config_class(train_set).model_validate(given.params["train_set_config"][train_set])
    return training_sets.make(train_set, data.train["clean"], data.train["corrupted"], config)
