"""A person's own images: `FOLDER/{train,test}/CLASS/*.{png,jpg,jpeg}`.

In: that folder and the side in pixels. Out: a `Dataset` with the classes and files in sorted order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.datasets.base import Dataset, Places, array_checksum, check_classes, check_counts
from robustness_study.schema.download import Download

SUFFIXES = {".png", ".jpg", ".jpeg"}
LAYOUT = "FOLDER/{train,test}/CLASS/*.{png,jpg,jpeg}"


def check(choice: Download) -> None:
    """StudyError unless params name a folder."""
    if not choice.folder:
        raise StudyError(
            f"params.yaml: download.folder is {choice.folder}: set it to the folder of your images, PATH of "
            f"{LAYOUT.replace('FOLDER', 'PATH')}"
        )


def load(choice: Download, places: Places) -> Dataset:
    """The images of the folder that params name."""
    assert choice.folder, "check asks for it"
    return load_folder(Path(choice.folder), choice.size)


def load_folder(folder: Path, size: int) -> Dataset:
    """The images under `folder`, cropped to squares and resized to `size`×`size` pixels."""
    classes = common_classes(folder)
    check_classes(classes)
    train, test = files_of(folder / "train", classes), files_of(folder / "test", classes)
    # Before any image is read: reading thousands takes minutes, this takes none.
    check_counts(classes, [len(files) for files in train], [len(files) for files in test])
    arrays = *read_all(folder, train, size), *read_all(folder, test, size)
    return Dataset(
        name="folder",
        origin="a local folder",
        checksum=array_checksum(*arrays),
        official=False,
        classes=classes,
        train_images=arrays[0],
        train_labels=arrays[1],
        test_images=arrays[2],
        test_labels=arrays[3],
    )


def common_classes(folder: Path) -> list[str]:
    """The sorted class names; StudyError unless train and test are there and have the same ones."""
    if not folder.is_dir():
        raise StudyError(f"params.yaml: download.folder is {str(folder)!r}, which is no folder; {LAYOUT} is wanted")
    found = {}
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            raise StudyError(f"{folder} has no folder named {part!r}; {LAYOUT} is wanted")
        found[part] = {path.name for path in visible(folder / part) if path.is_dir()}
    for part, other in (("train", "test"), ("test", "train")):
        lone = sorted(found[part] - found[other])
        if lone:
            names = ", ".join(repr(name) for name in lone[:5]) + (", ..." if len(lone) > 5 else "")
            raise StudyError(f"{folder}: {part} has classes that {other} has not: {names}; both must have the same")
    return sorted(found["train"])


def visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without the hidden files that desktops and editors leave."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def files_of(part: Path, classes: list[str]) -> list[list[Path]]:
    """Each class's image files."""
    return [
        [path for path in visible(part / name) if path.suffix.lower() in SUFFIXES and path.is_file()]
        for name in classes
    ]


def read_all(folder: Path, files: list[list[Path]], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one part, class by class."""
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files]).astype(np.uint8)
    images = np.empty((len(labels), size, size, 3), dtype=np.uint8)
    for index, path in enumerate(path for paths in files for path in paths):
        images[index] = read_image(path, path.relative_to(folder), size)
    return images, labels


def read_image(path: Path, shown: Path, size: int) -> np.ndarray:
    """One image as RGB bytes: upright, its central square, resized. StudyError calls it `shown`.

    Each pixel is the mean of the area it covers (BOX). Filters with negative lobes such as Lanczos ring at
    edges, and this study measures how classifiers take to small high-frequency patterns.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            deep = image.mode in ("I", "F") or image.mode.startswith("I;")
            upright = ImageOps.exif_transpose(image)  # cameras store the turn beside the pixels
            rgb = upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise StudyError(f"download.folder: {str(shown)!r} is no readable PNG or JPEG; remove or replace it") from None
    if deep:  # which PIL would clip to white
        raise StudyError(f"download.folder: {str(shown)!r} has more than 8 bits per channel; save it with 8")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BOX, box=square))
