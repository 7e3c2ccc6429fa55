"""Your own images, from a folder with the layout `FOLDER/{train,test}/CLASS/IMAGE`.

Classes and files are in sorted order. Images are cropped to squares and resized. Whatever is not used is counted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.datasets._folder_layout import LAYOUT, in_utf_8, layout_of, unused_note
from robustness_study.datasets._image_file import TRAITS, UnreadableImageError, read_picture
from robustness_study.datasets.base import Dataset, Places, array_checksum, check_classes, check_counts, number
from robustness_study.schema.download import Download

# The outer quotes are for the shell, the inner ones for Hydra, which reads the values of `-S`.
HOW_TO_NAME = """-S 'download.folder="my images"'"""
COPY = ".dvc/tmp/exps"  # where DVC runs `dvc exp run --temp` and `--queue`
SHOWN = 3  # files that an error names


def check(choice: Download) -> None:
    """Raise StudyError unless params name a folder."""
    if not choice.folder:
        raise StudyError(
            f"params.yaml: download.folder is {choice.folder!r}; set it to the folder of your images, with the layout "
            f"{LAYOUT}, in params.yaml or by {HOW_TO_NAME}"
        )


def load(choice: Download, places: Places) -> Dataset:
    """The images of the folder given in params. A `~` at its beginning is your home."""
    assert choice.folder, "`check` makes sure that a folder is named"
    return load_folder(existing(choice.folder), choice.size, choice.background)


def existing(text: str) -> Path:
    """The folder that `text` names. Raises StudyError if it does not exist, and says how to name one."""
    for as_written in (True, False):  # a folder may really be called ~x
        try:
            folder = Path(text) if as_written else Path(text).expanduser()
            if folder.is_dir():
                return folder
        except (RuntimeError, ValueError, OSError):  # no such home, a null byte, a name that is too long
            continue
    here = Path.cwd()
    if COPY in here.as_posix() and not Path(text).is_absolute():
        raise StudyError(
            f"params.yaml: download.folder is {text!r}, which is not in this copy of the repository; `dvc exp run` "
            "with --temp or --queue copies only what git tracks, so give the absolute path of the folder"
        )
    raise StudyError(
        f"params.yaml: download.folder is {text!r}, which is not a folder; name one with the layout {LAYOUT}, from the "
        f"top folder of the repository or as an absolute path; with spaces or other special characters type "
        f"{HOW_TO_NAME}, or write it into params.yaml"
    )


def load_folder(folder: Path, size: int, background: str) -> Dataset:
    """The images in `folder`, laid on `background`, cropped to squares and resized to `size`×`size` pixels.

    Raises StudyError if the layout is wrong, a class has too few images, or an image cannot be read.
    """
    layout = layout_of(folder)
    left_out = [unused_note(folder, layout.unused)] if layout.unused else []
    # These checks come first because they are fast, and reading thousands of images takes minutes.
    try:
        check_classes(layout.classes)
        check_counts(layout.classes, *([len(files) for files in part] for part in (layout.train, layout.test)))
    except StudyError as error:
        raise StudyError("; ".join([str(error), *left_out])) from None
    parts = layout.train, layout.test
    train, test = ([path for paths in part for path in paths] for part in parts)
    images, are_jpeg, noted = read_all(folder, [*train, *test], size, background)
    labels = [np.repeat(np.arange(len(part)), [len(paths) for paths in part]).astype(np.uint8) for part in parts]
    arrays = images[: len(train)], labels[0], images[len(train) :], labels[1]
    return Dataset(
        name="folder",
        origin="a local folder",
        checksum=array_checksum(*arrays),
        official=False,
        classes=layout.classes,
        train_images=arrays[0],
        train_labels=arrays[1],
        test_images=arrays[2],
        test_labels=arrays[3],
        train_files=[in_utf_8(path.relative_to(folder).as_posix()) for path in train],
        test_files=[in_utf_8(path.relative_to(folder).as_posix()) for path in test],
        jpeg_share=float(are_jpeg[: len(train)].mean()),
        notes=[*left_out, *noted],
    )


def read_all(folder: Path, files: list[Path], size: int, background: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Images uint8 N×size×size×3 of the files, bool N: which are JPEG, and sentences on what was done to some of them.

    Raises StudyError, with the number of files that cannot be read and the first of them.
    """
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)
    are_jpeg = np.zeros(len(files), dtype=bool)
    faults, traits, examples = [], Counter[str](), dict[str, str]()
    for index, path in enumerate(files):
        shown = repr(path.relative_to(folder).as_posix())
        try:
            picture = read_picture(path, size, background)
        except UnreadableImageError as error:
            faults.append(f"{shown} {error}")
            continue
        images[index], are_jpeg[index] = picture.pixels, picture.is_jpeg
        traits.update(picture.traits)
        for trait in picture.traits:
            examples.setdefault(trait, shown)
    if faults:
        count = number(len(faults), "file", "files")
        more = ", ..." if len(faults) > SHOWN else ""
        raise StudyError(
            f"download.folder: {count} cannot be read as an image: {', '.join(faults[:SHOWN])}{more}; replace or remove"
        )
    notes = [
        f"{traits[trait]} of {len(files)} images {text.format(background=background, size=size)}; for example "
        f"{examples[trait]}"
        for trait, text in TRAITS.items()
        if traits[trait]
    ]
    return images, are_jpeg, notes
