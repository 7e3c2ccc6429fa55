"""Stage `augmix@train`: every raw training image → its AugMix copy, aligned with it by index.

Out: `data/augmix/train.npz`, the training set named `augmix`, with `images` uint8 N×H×W×3, rounded. No labels and no
split: any seed's split cuts this file as it cuts the clean images. Off unless `augmix.splits` has "train".
"""

from __future__ import annotations

import argparse

import numpy as np

from robustness_study.core import params
from robustness_study.core.errors import run
from robustness_study.core.files import read_npz, write_npz
from robustness_study.schema.augmix import AugMix
from robustness_study.training_sets.augmix import augmix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=["train"], required=True)
    split = parser.parse_args().split
    section = params.section("augmix", AugMix)
    (images,) = read_npz(f"data/raw/{split}.npz", "images")
    mixed = augmix(images, section, split)
    write_npz(f"data/augmix/{split}.npz", images=mixed)
    change = np.abs(mixed.astype(np.int16) - images).mean()
    print(f"augmix {split}: {len(images)} images, mean absolute change {change:.1f} grey levels")


if __name__ == "__main__":
    run(main)
