"""Image files for tests of the dataset `folder`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


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
