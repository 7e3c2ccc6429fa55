"""Derives seeds from names, so that order, batch size and number of threads never change what is drawn.

`derive_seed(0, "split")` is a number that depends only on the seed and the names. `streams(...)` gives each image its
own independent random stream, which depends on the index of the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, 2⁶³) that depends only on `seed` and the names (BLAKE2b hash of their text)."""
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def streams(indices: Sequence[int] | np.ndarray, seed: int, *names: str | int) -> Iterator[np.random.Generator]:
    """One random generator for each image index. It does not depend on the other indices.

    It is the counter-based generator Philox (Salmon et al. 2011). Its 128-bit key is made of seed, names and index.
    """
    key = derive_seed(seed, *names)
    for index in indices:
        yield np.random.Generator(np.random.Philox(key=(key << 64) | int(index)))
