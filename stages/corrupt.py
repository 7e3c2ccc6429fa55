"""Stage `corrupt@SPLIT`: every raw image → its corrupted copy, aligned with it by index.

Out: `data/corrupted/{train,test}.npz` with `images` uint8 N×H×W×3, rounded, and what was applied to each
image. No labels and no split: any seed's split cuts this file as it cuts the clean images.
"""

from __future__ import annotations

import argparse

import numpy as np

from robustness_study.core import params
from robustness_study.core.errors import run
from robustness_study.core.files import read_npz, write_npz
from robustness_study.schema.corrupt import Corrupt
from robustness_study.training_sets.corrupted import apply_named, corrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["train", "test"], required=True)
    split = parser.parse_args().split
    section = params.section("corrupt", Corrupt)
    (images,) = read_npz(f"data/raw/{split}.npz", "images")
    print(f"corrupt {split}: {len(images)} images", flush=True)
    named = apply_named(images, section.before, section.seed, split)
    corrupted, draws = corrupt(named, section.mix.strengths(), section.seed, split)
    write_npz(f"data/corrupted/{split}.npz", images=corrupted, **draws)
    change = np.abs(corrupted.astype(np.int16) - images).mean()
    print(f"corrupt {split}: mean absolute change {change:.1f} grey levels")


if __name__ == "__main__":
    run(main)
