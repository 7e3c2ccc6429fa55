"""Reads one image file as a square of RGB pixels, and says what a person should know about it (see `TRAITS`).

Only the pixels, the orientation and the transparency are read. Importing this file imports no image library.
"""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robustness_study.datasets import _image_content

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
KINDS = "PNG, JPEG, WebP, BMP, GIF or TIFF"
ORIENTATION = 0x0112  # the EXIF tag
BITS_PER_SAMPLE = 258  # the TIFF tag
TURNS: dict[object, str] = {  # EXIF orientation → what turns the image upright, as a name in PIL.Image.Transpose
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
TRAITS = {  # what is worth saying of images → the end of the sentence "3 images …"
    "transparent": "have transparent pixels, which are laid on {background} (download.background)",
    "frames": "have several frames or pages, of which the first is used",
    "cropped": "are not square, so only their central square is used",
    "enlarged": "are smaller than {size} pixels and are enlarged",
    "plain": "have one colour only; if they should not, change download.background or remove them",
}

# PIL logs details of a broken file, which Python would print beside the one line that names it.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class UnreadableImageError(Exception):
    """The file is not an image that can be used. The text gives the reason, without the name of the file."""


@dataclass(frozen=True)
class Picture:
    """The pixels of an image file, uint8 size×size×3, and the keys of `TRAITS` that are true of it.

    `is_jpeg` is by the file's content, whatever its name.
    """

    pixels: np.ndarray
    traits: tuple[str, ...]
    is_jpeg: bool


def read_picture(path: Path, size: int, background: str) -> Picture:
    """One image as RGB: turned upright, laid on `background`, cropped to its central square, resized to `size` pixels.

    `background` is a colour name or "#rrggbb"; transparent pixels show it. Each pixel is the mean of the area that it
    covers (BOX filter). Filters with negative weights, such as Lanczos, add ripples at edges. This study measures how
    classifiers react to small high-frequency patterns, so the resize must not add any.

    Raises UnreadableImageError, whatever is wrong with the file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        content = _image_content.essential(path.read_bytes())
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            return _picture(opened, content, size, background)
    except UnreadableImageError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(f"is not a {KINDS}") from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(
            f"has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; make it smaller"
        ) from None
    except Exception as error:  # decoders of a broken file raise almost anything
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise UnreadableImageError(f"cannot be decoded ({reason})") from None


def _picture(opened: Image, content: bytes, size: int, background: str) -> Picture:
    from PIL.Image import Resampling

    _refuse_deep(opened, content)
    covered = opened.tile[0][1] if opened.format == "GIF" and opened.tile else None  # type: ignore[attr-defined]
    opened.load()
    rgb, transparent = _laid_on(_upright(_with_alpha(opened, content, covered)), background)
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = (left, top, left + side, top + side)
    pixels = np.asarray(rgb.resize((size, size), Resampling.BOX, box=square))
    found = {
        "transparent": transparent,
        "frames": _has_frames(opened),
        "cropped": rgb.width != rgb.height,
        "enlarged": side < size,
        "plain": bool((pixels == pixels[0, 0]).all()),
    }
    return Picture(pixels, tuple(name for name in TRAITS if found[name]), opened.format == "JPEG")


def _refuse_deep(opened: Image, content: bytes) -> None:
    """Refuse more than 8 bits per channel, except for PNG in colour.

    PIL would clip bright values of 16-bit grey to white. Such files and TIFF often hold camera counts of 10 to 14 bits,
    and only their maker knows which value is white. In a colour PNG the largest value is white. PIL takes the high byte
    of its values, but not of the value that PNG declares transparent.
    """
    deep = opened.mode in ("I", "F") or opened.mode.startswith("I;")
    if opened.format == "TIFF":
        deep = deep or int(np.max(opened.getexif().get(BITS_PER_SAMPLE, 1))) > 8
    if opened.format == "PNG":
        bits, kind = _image_content.png_kind(content)
        deep = deep or (bits == 16 and (kind == _image_content.GREY_WITH_ALPHA or "transparency" in opened.info))
    if deep:
        raise UnreadableImageError("has more than 8 bits per channel; save it with 8 bits")


def _with_alpha(opened: Image, content: bytes, covered: tuple[int, int, int, int] | None) -> Image:
    """The image with the transparency that PIL does not read. `covered` is the box of a GIF's first frame."""
    from PIL.Image import fromarray

    if opened.format == "PNG" and opened.mode == "L" and isinstance(opened.info.get("transparency"), int):
        bits, _ = _image_content.png_kind(content)
        opened.info["transparency"] *= 255 // (2**bits - 1)  # PIL scales the pixels only
        return opened
    if opened.format == "BMP" and (alpha := _image_content.bmp_alpha(content)) is not None:
        image = opened.convert("RGB")
        image.putalpha(fromarray(alpha))
        return image
    if covered is not None and covered != (0, 0, *opened.size):
        image = opened.convert("RGBA")
        outside = np.ones((image.height, image.width), bool)
        outside[covered[1] : covered[3], covered[0] : covered[2]] = False
        pixels = np.asarray(image).copy()
        pixels[outside, 3] = 0
        return fromarray(pixels)
    return opened


def _upright(image: Image) -> Image:
    """A copy that is turned upright: cameras store the rotation separately from the pixels.

    Other EXIF tags are not read, and an orientation that is no number from 2 to 8 means that nothing is turned.
    """
    from PIL.Image import Transpose

    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken block of tags beside good pixels; viewers show such an image as it is
        turn = None
    return image.transpose(Transpose[turn]) if turn else image.copy()


def _laid_on(image: Image, background: str) -> tuple[Image, bool]:
    """The image as RGB on a ground of this colour, and whether any pixel was transparent, wholly or in part."""
    from PIL.Image import new

    if not image.has_transparency_data:
        return image.convert("RGB"), False
    layer = image.convert("RGBA")
    ground = new("RGBA", layer.size, background)
    ground.alpha_composite(layer)
    return ground.convert("RGB"), bool((np.asarray(layer)[..., 3] < 255).any())


def _has_frames(opened: Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # a later frame is broken, but there is one
        return True
