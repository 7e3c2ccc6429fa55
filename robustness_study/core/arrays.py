"""What the named arrays of the pipeline must be. `read_npz` refuses any other, as DVC may keep a file made by hand.

A negative index, for example, would silently train on images from the end.
"""

from __future__ import annotations

import re

import numpy as np

INDICES = "train|val|test|(.*_)?indices"
LABELS = "(.*_)?labels"
OUTPUTS = ".*_logits|(.*_)?features"
POINTS = "clean|clean_taken|corrupted|attacked"


def fault_of(name: str, array: np.ndarray) -> str | None:
    """What is wrong with the array of this name, as the end of "NAME …"; None if nothing is.

    Images are uint8 N×S×S×3, or 5×N×S×S×3 for five severities. Indices are whole numbers, N, that rise from 0 or more.
    Labels are uint8 N. Logits and features are finite numbers N×D, points of a plane N×2, signs int8 N×3×S×S. Any other
    name may be anything.
    """
    shape = "×".join(map(str, array.shape)) or "one value"
    found = f"is {array.dtype} {shape}"
    if name == "images" and not (
        array.dtype == np.uint8 and array.ndim in (4, 5) and array.shape[-1] == 3 and array.shape[-2] == array.shape[-3]
    ):
        return f"{found}, not uint8 N×S×S×3"
    if re.fullmatch(LABELS, name) and not (array.dtype == np.uint8 and array.ndim == 1):
        return f"{found}, not uint8 N"
    if re.fullmatch(INDICES, name):
        if not (array.dtype.kind in "iu" and array.ndim == 1):
            return f"{found}, not whole numbers N"
        if array.size and (array[0] < 0 or (np.diff(array.astype(np.int64)) <= 0).any()):
            return "does not rise from 0 or more"
    if re.fullmatch(OUTPUTS, name) or re.fullmatch(POINTS, name):
        if not (array.dtype.kind == "f" and array.ndim == 2):
            return f"{found}, not numbers N×D"
        if not np.isfinite(array).all():
            return "has values that are NaN or infinite"
    if name == "signs" and not (array.dtype == np.int8 and array.ndim == 4 and (np.abs(array) <= 1).all()):
        return f"{found}, not int8 N×3×S×S of −1, 0 and 1"
    if not array.size and (name == "images" or re.fullmatch(f"train|val|test|{LABELS}", name)):
        return "is empty"
    return None
