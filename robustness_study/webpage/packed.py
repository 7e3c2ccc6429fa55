"""Images and arrays as text that fits into an HTML file. assets/unpack.js unpacks it again."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

COLUMNS = 10  # images in a row of a sheet
JPEG_QUALITY = 95  # without subsampling of colours: 39.6 dB for CIFAR-10's test images, which the eye does not see


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array of whole numbers as text: its type and shape, and its bytes, compressed and in base64."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    text = base64.b64encode(zlib.compress(little.tobytes(), 9)).decode()
    return {"type": array.dtype.name, "shape": list(array.shape), "data": text}


def thumbnails(images: np.ndarray, largest: int) -> np.ndarray:
    """Images N×S×S×3, at most `largest` pixels wide, of the same type: uint8, or float32 for other values."""
    side = images.shape[1]
    if side <= largest:
        return images
    size = (largest, largest)
    if images.dtype == np.uint8:
        return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in images])
    planes = images.astype(np.float32).transpose(0, 3, 1, 2).reshape(-1, side, side)
    small = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BOX)) for plane in planes]
    return np.stack(small).reshape(len(images), 3, *size).transpose(0, 2, 3, 1)


def sheet(images: np.ndarray, exact: bool = False) -> str:
    """All images, uint8 N×S×S×3, side by side in rows of `COLUMNS`, as a data URI: WebP if `exact`, else JPEG."""
    count, side = images.shape[:2]
    rows = -(-count // COLUMNS)
    filled = np.zeros((rows * COLUMNS, side, side, 3), dtype=np.uint8)
    filled[:count] = images
    tiled = filled.reshape(rows, COLUMNS, side, side, 3).swapaxes(1, 2).reshape(rows * side, COLUMNS * side, 3)
    buffer = io.BytesIO()
    if exact:
        Image.fromarray(tiled).save(buffer, "WEBP", lossless=True, method=6, quality=80)
    else:
        Image.fromarray(tiled).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    kind = "webp" if exact else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
