"""Seeds derived from names, so that order, batch size and thread count never change a result.

`derive_seed(0, "split")` is a number that depends on the names alone. `streams(...)` gives one
independent random stream per image, keyed by the image's index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A seed in [0, 2⁶³) that depends on `seed` and the names only (BLAKE2b of their text)."""
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def streams(indices: Sequence[int] | np.ndarray, seed: int, *names: str | int) -> Iterator[np.random.Generator]:
    """One generator per image index, the same whatever other indices are asked for.

    The Philox counter-based generator (Salmon et al. 2011) takes (names, index) as its 128-bit key.
    """
    key = derive_seed(seed, *names)
    for index in indices:
        yield np.random.Generator(np.random.Philox(key=(key << 64) | int(index)))
