"""Stage `suite@CORRUPTION`: some test images → their copies under one corruption at five severities.

Out: `data/suite/CORRUPTION.npz` with `images` uint8 5×N×H×W×3 and `indices`, which of the raw test images they
are: stratified, the same for every corruption. Always made on the CPU, so that every machine scores the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from robustness_study.core import params
from robustness_study.core.errors import run
from robustness_study.core.files import read_npz, write_npz
from robustness_study.core.subsets import stratified
from robustness_study.corruptions import SEVERITIES, corrupt
from robustness_study.schema.suite import Suite


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corruption", required=True)
    name = parser.parse_args().corruption
    section = params.section("suite", Suite)
    images, labels = read_npz("data/raw/test.npz", "images", "labels")
    indices = stratified(labels, section.images, section.seed, "suite")
    copies = np.stack(
        [
            corrupt(images[indices], name, severity, seed=section.seed, split="test", indices=indices)
            for severity in SEVERITIES
        ]
    )
    # Models are scored on the folder: what is no longer in the suite would change its hash for good.
    for other in Path("data/suite").glob("*.npz"):
        if other.stem not in section.corruptions:
            other.unlink()
    write_npz(f"data/suite/{name}.npz", images=copies, indices=indices)
    changes = np.abs(copies.astype(np.int16) - images[indices]).mean((1, 2, 3, 4))
    print(f"suite {name}: {len(indices)} images, mean absolute change {' '.join(f'{c:.1f}' for c in changes)}")


if __name__ == "__main__":
    run(main)
