"""Stage `training_set@NAME`: makes the images on which the models of that training set train.

Reads the raw and the corrupted training images. Writes `data/training_sets/NAME.npz` with `images` uint8 N×S×S×3, one
for each raw training image, in the same order.
"""

from __future__ import annotations

import argparse

import numpy as np

from robustness_study import training_sets
from robustness_study.core import params
from robustness_study.core.files import read_npz, write_npz
from robustness_study.core.program import run


def main() -> None:
    """Make all images, without a split: each seed's split selects from this file as from the raw images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-set", required=True)
    name = parser.parse_args().train_set
    config = params.section(f"train_set_config.{name}", training_sets.config_class(name))
    (clean,) = read_npz("data/raw/train.npz", "images")
    (corrupted,) = read_npz("data/corrupted/train.npz", "images")
    images = training_sets.make(name, clean, corrupted, config)
    write_npz(f"data/training_sets/{name}.npz", images=images)
    change = np.abs(images.astype(np.int16) - clean).mean()
    print(f"training set {name}: {len(images)} images, mean absolute change {change:.1f} (of 255)")


if __name__ == "__main__":
    run(main)
