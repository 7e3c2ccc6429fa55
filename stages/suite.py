"""Stage `suite`: copies of some test images under each corruption at five severities.

Reads the raw test images. Writes `data/suite/CORRUPTION.npz` (`images` uint8 5×N×H×W×3, and `indices` N into the raw
test images) and `reports/examples/corruptions.png`, a picture of the first image under all corruptions.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core import params
from robustness_study.core.files import read_npz, write_npz
from robustness_study.core.program import run
from robustness_study.core.subsets import TEST_IMAGES, count_of, stratified
from robustness_study.corruptions import SEVERITIES, corrupt
from robustness_study.schema.suite import Suite


def main() -> None:
    """Corrupt the recipe's share of `suite.images` test images: stratified, the same for every corruption.

    It runs on the CPU only, so that every machine scores the same bytes. To draw such a picture of your own images, use
    `python -m robustness_study.corruptions --sheet IN.npz OUT.png`.
    """
    from robustness_study.corruptions.contact_sheet import contact_sheet

    section = params.section("suite", Suite)
    count = count_of(params.of_recipe("evidence_share"), section.images)
    images, labels = read_npz("data/raw/test.npz", "images", "labels")
    indices = stratified(labels, count, section.seed, TEST_IMAGES)
    chosen, rows = images[indices], {}
    for name in section.corruptions:
        copies = np.stack(
            [
                corrupt(chosen, name, severity, seed=section.seed, split="test", indices=indices)
                for severity in SEVERITIES
            ]
        )
        write_npz(f"data/suite/{name}.npz", images=copies, indices=indices)
        rows[name] = [chosen[0], *copies[:, 0]]
        changes = np.abs(copies.astype(np.int16) - chosen).mean((1, 2, 3, 4))
        shown = " ".join(f"{change:.1f}" for change in changes)
        print(f"suite {name}: {len(indices)} images, mean absolute change {shown} (of 255)", flush=True)
    contact_sheet("reports/examples/corruptions.png", rows)


if __name__ == "__main__":
    run(main)
