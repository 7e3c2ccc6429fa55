"""Converts arrays of small whole numbers to text and back, so that a JSON file can hold a prediction per image."""

from __future__ import annotations

import base64
import zlib

import numpy as np


def to_text(array: np.ndarray) -> str:
    """The text (compressed base64) of a one-dimensional array of whole numbers from 0 to 4,294,967,295.

    Raises ValueError for any other array.
    """
    values = np.asarray(array)
    whole = values.ndim == 1 and (not values.size or values.dtype.kind in "biu")
    if not whole or (values.size and (values.min() < 0 or values.max() > np.iinfo(np.uint32).max)):
        raise ValueError("the array must be one-dimensional and hold whole numbers from 0 to 4,294,967,295")
    largest = values.max() if values.size else 0
    kind = next(kind for kind in map(np.dtype, ("u1", "<u2", "<u4")) if largest <= np.iinfo(kind).max)
    packed = zlib.compress(values.astype(kind).tobytes(), 9)
    return f"{kind.str}:{base64.b64encode(packed).decode()}"


def from_text(text: str) -> np.ndarray:
    """The array that `to_text` converted: one-dimensional, uint8, uint16 or uint32. Raises ValueError if it cannot."""
    kind, _, body = text.rpartition(":")
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(body, validate=True)), np.dtype(kind))
    except (zlib.error, TypeError) as error:
        raise ValueError(f"the text of an array is damaged ({error})") from None
