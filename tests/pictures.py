"""Image files for tests of the dataset `folder`."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from robustness_study.datasets import folder
from robustness_study.datasets._image_file import read_picture
from robustness_study.datasets.base import Dataset


def save_image(path: Path, colour: tuple[int, int, int] = (10, 200, 30), size: tuple[int, int] = (12, 9)) -> None:
    """Save an image of one colour, in the format that the path's suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def two_classes(top: Path, first: str = "cat", second: str = "dog") -> Path:
    """A good folder of two classes at `top`: images of the first are red, those of the second blue."""
    for name, colour in ((first, (255, 0, 0)), (second, (0, 0, 255))):
        for file in ("train/{}/b.PNG", "train/{}/a.png", "train/{}/c.jpeg", "test/{}/x.JPG"):
            save_image(top / file.format(name), colour)
    return top


def load(top: Path, size: int = 8) -> Dataset:
    """The dataset in the folder `top`, with white behind transparent pixels."""
    return folder.load_folder(top, size, "white")


def pixels_of(path: Path, size: int = 8, background: str = "white") -> np.ndarray:
    """An image as the dataset reads it, S×S×3."""
    return read_picture(path, size, background).pixels


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
