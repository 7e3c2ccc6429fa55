"""Your own images, from a folder with the layout `FOLDER/{train,test}/CLASS/*.{png,jpg,jpeg}`.

Classes and files are in sorted order. Images are cropped to squares and resized.
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
    """Raise StudyError unless params name a folder."""
    if not choice.folder:
        raise StudyError(
            f"params.yaml: download.folder is {choice.folder}; set it to the folder of your images, with the layout "
            f"{LAYOUT}"
        )


def load(choice: Download, places: Places) -> Dataset:
    """The images of the folder given in params."""
    assert choice.folder, "`check` makes sure that a folder is named"
    return load_folder(Path(choice.folder), choice.size)


def load_folder(folder: Path, size: int) -> Dataset:
    """The images in `folder`, cropped to squares and resized to `size`×`size` pixels.

    Raises StudyError if the layout is wrong, a class has too few images, or an image cannot be read.
    """
    classes = common_classes(folder)
    check_classes(classes)
    train, test = files_of(folder / "train", classes), files_of(folder / "test", classes)
    # This check comes first because it is fast, and reading thousands of images takes minutes.
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
    """The sorted class names. Raises StudyError unless the folders train and test exist and have the same classes."""
    if not folder.is_dir():
        raise StudyError(
            f"params.yaml: download.folder is {str(folder)!r}, which is not a folder; name one with the layout {LAYOUT}"
        )
    found = {}
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            raise StudyError(f"{folder} has no subfolder {part!r}; add it, the layout must be {LAYOUT}")
        found[part] = {path.name for path in visible(folder / part) if path.is_dir()}
    for part, other in (("train", "test"), ("test", "train")):
        lone = sorted(found[part] - found[other])
        if lone:
            names = ", ".join(repr(name) for name in lone[:5]) + (", ..." if len(lone) > 5 else "")
            raise StudyError(f"{folder}: {part} has classes that {other} does not have: {names}; make them the same")
    return sorted(found["train"])


def visible(folder: Path) -> list[Path]:
    """The sorted content of a folder, without hidden files (desktops and editors create those)."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def files_of(part: Path, classes: list[str]) -> list[list[Path]]:
    """The image files of each class, in the order of `classes`."""
    return [
        [path for path in visible(part / name) if path.suffix.lower() in SUFFIXES and path.is_file()]
        for name in classes
    ]


def read_all(folder: Path, files: list[list[Path]], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 N×size×size×3 and labels uint8 (N,) of one part. `files` has the files of each class."""
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files]).astype(np.uint8)
    images = np.empty((len(labels), size, size, 3), dtype=np.uint8)
    for index, path in enumerate(path for paths in files for path in paths):
        images[index] = read_image(path, path.relative_to(folder), size)
    return images, labels


def read_image(path: Path, shown: Path, size: int) -> np.ndarray:
    """One image as RGB, uint8 size×size×3: turned upright, cropped to its central square, and resized.

    Each pixel is the mean of the area that it covers (BOX filter). Filters with negative weights, such as Lanczos,
    add ripples at edges. This study measures how classifiers react to small high-frequency patterns, so the resize
    must not add any. Raises StudyError, with the path `shown`, if the file is not a PNG or JPEG with 8 bits.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            deep = image.mode in ("I", "F") or image.mode.startswith("I;")
            upright = ImageOps.exif_transpose(image)  # cameras store the rotation separately from the pixels
            rgb = upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise StudyError(
            f"download.folder: {str(shown)!r} is not a readable PNG or JPEG; remove or replace it"
        ) from None
    if deep:  # PIL would clip bright values to white
        raise StudyError(f"download.folder: {str(shown)!r} has more than 8 bits per channel; save it with 8 bits")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = (left, top, left + side, top + side)
    return np.asarray(rgb.resize((size, size), Image.Resampling.BOX, box=square))
