"""Converts arrays of small whole numbers to text and back, so that a JSON file can hold a prediction per image."""

from __future__ import annotations

import base64
import zlib

import numpy as np


def to_text(array: np.ndarray) -> str:
    """The text (compressed base64) of a one-dimensional array of whole numbers from 0 to 65,535.

    Raises ValueError for any other array.
    """
    values = np.asarray(array)
    whole = values.ndim == 1 and (not values.size or values.dtype.kind in "biu")
    if not whole or (values.size and (values.min() < 0 or values.max() > np.iinfo(np.uint16).max)):
        raise ValueError("the array must be one-dimensional and hold whole numbers from 0 to 65,535")
    kind = np.uint8 if not values.size or values.max() <= np.iinfo(np.uint8).max else np.dtype("<u2")
    packed = zlib.compress(values.astype(kind).tobytes(), 9)
    return f"{np.dtype(kind).str}:{base64.b64encode(packed).decode()}"


def from_text(text: str) -> np.ndarray:
    """The array that `to_text` converted: one-dimensional, uint8 or uint16. Raises ValueError for a damaged text."""
    kind, _, body = text.rpartition(":")
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(body, validate=True)), np.dtype(kind))
    except (zlib.error, TypeError) as error:
        raise ValueError(f"the text of an array is damaged ({error})") from None
