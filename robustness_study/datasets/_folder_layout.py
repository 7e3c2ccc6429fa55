"""Finds class names and image files in a folder with the layout `FOLDER/{train,test}/CLASS/IMAGE`. Reads no image.

Nothing in the folder is ignored without a word, except for what desktops put there.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from robustness_study.core.errors import StudyError
from robustness_study.datasets._image_file import SUFFIXES
from robustness_study.datasets.base import number

LAYOUT = "FOLDER/{train,test}/CLASS/IMAGE"
SILENT = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", ".ds_store", "icon\r", "@eadir")  # of desktops, NAS


@dataclass(frozen=True)
class Layout:
    """What a folder holds: class names, each part's files by class, and the paths of what is not used."""

    classes: list[str]
    train: list[list[Path]]
    test: list[list[Path]]
    unused: list[Path]


def layout_of(folder: Path) -> Layout:
    """What the folder holds. Reads no image.

    Raises StudyError unless the folders train and test exist and have the same classes, without folders in them.
    """
    folders, unused = {}, [path for path in entries(folder) if path.name not in ("train", "test")]
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            there = ", ".join(repr(path.name) for path in entries(folder)[:5]) or "nothing"
            raise StudyError(
                f"{str(folder)!r} has no subfolder {part!r}, but {there}; add it or rename one, as the layout must be "
                f"{LAYOUT}"
            )
        folders[part], others = class_folders(folder, folder / part)
        unused += others
    for part, other in (("train", "test"), ("test", "train")):
        lone = sorted(set(folders[part]) - set(folders[other]))
        if lone:
            names = ", ".join(repr(name) for name in lone[:5]) + (", ..." if len(lone) > 5 else "")
            raise StudyError(f"{str(folder)!r}: {part} has classes that {other} lacks: {names}; make them the same")
    classes = sorted(folders["train"])
    files: dict[str, list[list[Path]]] = {}
    for part, by_name in folders.items():
        files[part] = []
        for name in classes:
            used, others = images_of(folder, by_name[name])
            files[part].append(used)
            unused += others
    return Layout(classes, files["train"], files["test"], unused)


def entries(folder: Path) -> list[Path]:
    """The sorted content of a folder, without what desktops put there (Thumbs.db, .DS_Store, ._NAME and their like)."""
    return sorted(
        path for path in folder.iterdir() if path.name.lower() not in SILENT and not path.name.startswith("._")
    )


def in_utf_8(name: str) -> str:
    """A path of this machine as UTF-8, whatever the locale. A byte that is not UTF-8 becomes a lone surrogate."""
    return os.fsencode(name).decode("utf-8", errors="surrogateescape")


def class_folders(folder: Path, part: Path) -> tuple[dict[str, Path], list[Path]]:
    """Class name → its folder, and what else is in `part`.

    Names are compared in Unicode normal form C, because macOS and Linux write an accent in different ways. Raises
    StudyError if two folders have the same name in that form.
    """
    found: dict[str, Path] = {}
    unused = []
    for path in entries(part):
        if path.name.startswith(".") or not path.is_dir():
            unused.append(path)
            continue
        name = unicodedata.normalize("NFC", in_utf_8(path.name))
        if name in found:
            shown = path.relative_to(folder).as_posix()
            raise StudyError(
                f"{shown!r} is there twice: two folders whose names differ only in how Unicode writes an accent; put "
                "their images into one"
            )
        same = next((other for other in found.values() if other.samefile(path)), None)
        if same is not None:
            raise StudyError(
                f"{same.relative_to(folder).as_posix()!r} and {path.relative_to(folder).as_posix()!r} are the same "
                "folder, by a link; a class needs images of its own"
            )
        found[name] = path
    return found, unused


def images_of(folder: Path, of_class: Path) -> tuple[list[Path], list[Path]]:
    """The image files of a class, and what else is in its folder. Raises StudyError if it holds a folder."""
    used: list[Path] = []
    unused: list[Path] = []
    for path in entries(of_class):
        hidden = path.name.startswith(".")
        if path.is_dir() and not hidden:
            raise StudyError(
                f"{path.relative_to(folder).as_posix()!r} is a folder inside a class; the layout must be {LAYOUT}, so "
                "move its images up into the class, or remove it"
            )
        good = path.suffix.lower() in SUFFIXES and path.is_file() and not hidden
        (used if good else unused).append(path)
    return used, unused


def unused_note(folder: Path, unused: list[Path]) -> str:
    """A sentence that counts what is not used, names one of it, and says why. `unused` must not be empty."""
    example = min(
        unused, key=lambda path: (path.suffix.lower() not in SUFFIXES, path)
    )  # rather what looks like an image
    if example.is_symlink() and not example.exists():
        reason = "a link to nothing"
    elif example.name.startswith("."):
        reason = "a hidden file"
    elif example.suffix.lower() in SUFFIXES and not example.is_file():
        reason = "not a file"
    elif example.is_dir() or example.suffix.lower() in SUFFIXES:
        reason = f"not in the layout {LAYOUT}"
    else:
        reason = f"its name does not end in {', '.join(SUFFIXES)}"
    count = number(len(unused), "file or folder is", "files or folders are")
    return f"{count} not used, for example {example.relative_to(folder).as_posix()!r} ({reason})"
