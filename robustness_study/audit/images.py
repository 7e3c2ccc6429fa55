"""The test images of an audit: CIFAR-10's, the digits, a folder of images, or an .npz file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study import datasets, natural
from robustness_study.audit.settings import Settings
from robustness_study.core.errors import StudyError
from robustness_study.core.files import array_digest, read_arrays, read_json
from robustness_study.core.subsets import TEST_IMAGES, stratified
from robustness_study.corruptions import SEVERITIES, corrupt
from robustness_study.corruptions.copies import mixed_copies, under_named
from robustness_study.datasets._folder_layout import class_folders, images_of, in_utf_8, unused_note
from robustness_study.datasets.base import VARIABLE, Places, array_checksum, check_arrays, check_classes
from robustness_study.datasets.folder import read_all
from robustness_study.natural.base import VARIABLE as NATURAL_FOLDER
from robustness_study.schema.download import Download

FETCHED = Path("data/external")  # where the stage `download` fetches to as well
LARGEST_SIDE = 224
NPZ_ADVICE = "make it with numpy.savez(path, images=..., labels=...)"


@dataclass(frozen=True)
class TestImages:
    """Images uint8 N×S×S×3 with labels uint8 N: places in `classes`, which are in the order of the model's outputs.

    `about` is what the results say of the dataset, `notes` are sentences to print.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]
    about: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def side(self) -> int:
        """Width and height in pixels."""
        return int(self.images.shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of images and labels."""
        return array_digest(self.images, self.labels)

    def first(self, count: int | None, seed: int) -> TestImages:
        """`count` of the images, with classes in proportion; all of them if `count` is None or larger."""
        if count is None or count >= len(self.labels):
            return self
        chosen = stratified(self.labels, count, seed, TEST_IMAGES)
        note = f"{count} of {len(self.labels)} test images are used, with classes in proportion"
        return TestImages(self.images[chosen], self.labels[chosen], self.classes, self.about, (*self.notes, note))


def read(what: str, size: int | None, classes: list[str] | None, background: str) -> TestImages:
    """The images that `--images` names. `classes` are in the order of the model's outputs; None: in sorted order.

    `size` is the width of a folder's images after resizing. Raises StudyError if they cannot be had.
    """
    if size is not None and ((what == "cifar10" and size != 32) or what.endswith(".npz")):
        raise StudyError(f"--size {size}: the images of {what} are used in the size that they have; leave out --size")
    if what in ("cifar10", "digits"):
        found = _of_dataset(what, size or 32, background)
    elif Path(what).is_dir():
        found = _of_folder(Path(what), size, background)
    elif what.endswith(".npz"):
        found = _of_file(Path(what))
    else:
        raise StudyError(f"--images {what!r} is no folder and no .npz file; name one, or cifar10, or digits")
    found = _in_order(found, classes)
    check_classes(found.classes)
    check_arrays("test", found.images, found.labels, found.side, len(found.classes))
    if found.side > LARGEST_SIDE:
        raise StudyError(f"the images are {found.side} pixels wide; at most {LARGEST_SIDE} are possible: use --size")
    return found


def _of_dataset(name: str, size: int, background: str) -> TestImages:
    choice = Download(dataset=name, folder=None, background=background, size=size)
    datasets.check(choice)
    archive = os.environ.get(VARIABLE)
    found = datasets.load(choice, Places(Path(archive) if archive else None, FETCHED))
    about = {key: getattr(found, key) for key in ("name", "origin", "checksum", "official", "jpeg_share")}
    return TestImages(found.test_images, found.test_labels, found.classes, about)


def _of_folder(folder: Path, size: int | None, background: str) -> TestImages:
    """The images of `FOLDER/CLASS/IMAGE`, or of `FOLDER/test/CLASS/IMAGE` if there is a folder `test`."""
    if size is None:
        raise StudyError("--images is a folder, so --size is needed: the width in pixels of the model's images")
    top = folder / "test" if (folder / "test").is_dir() else folder
    parts = [name for name in ("val", "valid", "validation") if (folder / name).is_dir()]
    if top == folder and parts and (folder / "train").is_dir():
        raise StudyError(f"{folder} has no folder test; name the images to test on: --images {folder / parts[0]}")
    of_class, unused = class_folders(top, top)
    names = sorted(of_class)
    found = [images_of(top, of_class[name]) for name in names]
    files, unused = [used for used, _ in found], [*unused, *(path for _, others in found for path in others)]
    empty = [name for name, found in zip(names, files, strict=True) if not found]
    if len(names) < 2 or empty:
        what = f"class {empty[0]!r} has no image" if empty else "there are not two folders of classes"
        raise StudyError(f"{folder}: {what}; the layout must be FOLDER/CLASS/IMAGE or FOLDER/test/CLASS/IMAGE")
    every = [path for paths in files for path in paths]
    try:
        images, are_jpeg, notes = read_all(top, every, size, background)
    except StudyError as error:
        raise StudyError(str(error).replace("download.folder", str(folder))) from None
    labels = np.repeat(np.arange(len(names)), [len(paths) for paths in files]).astype(np.uint8)
    about = {
        "name": in_utf_8(folder.resolve().name),
        "origin": "a local folder",
        "checksum": array_checksum(images, labels),
        "official": False,
        "jpeg_share": float(are_jpeg.mean()),
    }
    left_out = [unused_note(top, unused)] if unused else []
    return TestImages(images, labels, names, about, (*left_out, *notes))


def _of_file(path: Path) -> TestImages:
    """Arrays `images` and `labels`, as in `data/raw/test.npz` of a study; class names from `source.json` beside it."""
    try:
        arrays = read_arrays(path, NPZ_ADVICE, ("images", "labels"))
    except FileNotFoundError:
        raise StudyError(f"--images {path} does not exist; {NPZ_ADVICE}") from None
    images, labels = arrays["images"], arrays["labels"]
    if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
        shape = "×".join(map(str, images.shape))
        raise StudyError(f"{path}: images are {images.dtype} {shape}; they must be uint8 N×S×S×3")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise StudyError(f"{path}: labels must be {len(images)} whole numbers from 0, one for each image")
    if labels.max() > 255:
        raise StudyError(f"{path}: the largest label is {labels.max()}, but at most 256 classes are possible")
    source = path.with_name("source.json")
    about: dict[str, Any] = {"name": path.stem, "origin": "a local file", "official": False, "jpeg_share": None}
    classes = [str(label) for label in range(int(labels.max()) + 1)]
    if source.is_file():
        known = read_json(source, "name", "origin", "checksum", "official", "classes", "jpeg_share")
        about = {key: known[key] for key in ("name", "origin", "checksum", "official", "jpeg_share")}
        classes = known["classes"]
        if labels.max() >= len(classes):
            raise StudyError(f"{path}: a label is {labels.max()}, but {source} names {len(classes)} classes; mend it")
    about.setdefault("checksum", array_checksum(images, labels.astype(np.uint8)))
    return TestImages(images, labels.astype(np.uint8), classes, about)


def _in_order(found: TestImages, wanted: list[str] | None) -> TestImages:
    """The same images with labels that are places in `wanted`. Raises StudyError if it lacks a class of the images."""
    if wanted is None or wanted == found.classes:
        return found
    lacking = [name for name in found.classes if name not in wanted]
    if lacking:
        raise StudyError(
            f"--classes has no {lacking[0]!r}; it must name all classes of the images, in the order of the model's "
            f"outputs: {', '.join(found.classes)}"
        )
    places = np.array([wanted.index(name) for name in found.classes]).astype(np.uint8)
    return TestImages(found.images, places[found.labels], wanted, found.about, found.notes)


class Changed:
    """What is done to the test images: the same for every model, and computed once."""

    def __init__(self, data: TestImages, settings: Settings) -> None:
        self.data, self.settings = data, settings
        self.of_suite = stratified(data.labels, settings.suite.images, settings.suite.seed, TEST_IMAGES)

    @cached_property
    def mixed(self) -> np.ndarray:
        """All images under the studies' corruption, as the stage `corrupt` makes them."""
        section = self.settings.corrupt
        before = [(named.corruption, named.severity, named.probability) for named in section.before]
        named = under_named(self.data.images, before, section.seed, "test")
        return mixed_copies(named, section.mix.strengths(), section.seed, "test")[0]

    @cached_property
    def natural(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The natural sets that were asked for: name → images and labels."""
        try:
            natural.check(self.settings.natural, self.data.about["name"])
        except StudyError:
            raise StudyError(
                f"--natural {' '.join(self.settings.natural)}: there is no such set for {self.data.about['name']}; the "
                f"sets are {', '.join(natural.names())}, for the classes of CIFAR-10"
            ) from None
        named = os.environ.get(NATURAL_FOLDER)
        folder, found = Path(named) if named else None, {}
        for name in self.settings.natural:
            lacking = [each for each in natural.classes(name) if each not in self.data.classes]
            if lacking:
                raise StudyError(
                    f"--natural {name}: the images have no class {lacking[0]!r}; name their classes as CIFAR-10 does, "
                    "by folders or in source.json beside the .npz file"
                )
            loaded = natural.load(name, natural.classes(name), folder, FETCHED)
            places = np.array([self.data.classes.index(each) for each in natural.classes(name)]).astype(np.uint8)
            found[name] = loaded.images, places[loaded.labels]
        return found

    def copies(self, corruption: str, positions: np.ndarray) -> np.ndarray:
        """Some of the suite's images under a corruption at every severity, uint8 severities×n×S×S×3."""
        indices = self.of_suite[positions]
        images, seed = self.data.images[indices], self.settings.suite.seed
        return np.stack(
            [corrupt(images, corruption, severity, seed=seed, split="test", indices=indices) for severity in SEVERITIES]
        )
