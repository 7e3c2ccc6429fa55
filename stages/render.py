"""Stage `render@LOSS-TRAINSET-SEED`: draws a UMAP plane, with a caption that says how far to trust it.

Reads `data/embedded/KEY.npz` and `.json`, the raw test labels and the class names. Writes `plane.png` and `plane.json`
(the measures of trust) into `reports/planes/KEY/`, which is in git.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core.cell import Cell
from robustness_study.core.errors import run
from robustness_study.core.files import copy_file, read_json, read_npz
from robustness_study.planes.picture import caption_of, umap_planes


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    (labels,) = read_npz("data/raw/test.npz", "labels")
    classes = read_json("data/raw/source.json", "classes")["classes"]
    points, taken, chosen, attacked, *moved = read_npz(
        cell.embedded, "clean", "clean_taken", "test_indices", "attacked_indices", "corrupted", "attacked"
    )
    notes = read_json(cell.embedded.with_suffix(".json"))
    caption = caption_of(notes)  # distances in a UMAP plane mislead (Chari & Pachter 2023)
    before = {"corrupted": taken, "attacked": taken[np.searchsorted(chosen, attacked)]}
    after = dict(zip(before, moved, strict=True))
    of = {"corrupted": labels[chosen], "attacked": labels[attacked]}
    umap_planes(cell.plane("plane.png"), points, labels[chosen], before, after, of, classes, caption)
    copy_file(cell.embedded.with_suffix(".json"), cell.plane("plane.json"))
    print(caption)


if __name__ == "__main__":
    run(main)
