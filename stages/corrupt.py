"""Stage `corrupt@SPLIT`: makes a corrupted copy of every raw image, with the studies' corruption (the mix).

Reads `data/raw/SPLIT.npz`. Writes `data/corrupted/SPLIT.npz` with `images` (uint8 N×H×W×3, rounded, in the order of the
raw images) and with what was applied to each image.
"""

from __future__ import annotations

import argparse

import numpy as np

from robustness_study.core import params
from robustness_study.core.files import read_npz, write_npz
from robustness_study.core.program import run
from robustness_study.corruptions.copies import mixed_copies, under_named
from robustness_study.schema.corrupt import Corrupt


def main() -> None:
    """Corrupt all images of `--split`: first as `corrupt.before` says, then with the mix.

    The file knows no seed's split: each split selects from it as from the raw images.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["train", "test"], required=True)
    split = parser.parse_args().split
    section = params.section("corrupt", Corrupt)
    (images,) = read_npz(f"data/raw/{split}.npz", "images")
    print(f"corrupt {split}: {len(images)} images", flush=True)
    before = [(named.corruption, named.severity, named.probability) for named in section.before]
    named = under_named(images, before, section.seed, split)
    corrupted, draws = mixed_copies(named, section.mix.strengths(), section.seed, split)
    write_npz(f"data/corrupted/{split}.npz", images=corrupted, **draws)
    change = np.abs(corrupted.astype(np.int16) - images).mean()
    print(f"corrupt {split}: mean absolute change {change:.1f} (of 255)")


if __name__ == "__main__":
    run(main)
