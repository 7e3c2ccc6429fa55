"""Stage `render@LOSS-TRAINSET-SEED`: draws a UMAP plane, with a caption that says how far to trust it.

Reads `data/embedded/KEY.npz` and `.json`, the raw test labels and the class names. Writes `plane.png` and `plane.json`
(the measures of trust) into `reports/planes/KEY/`, which is in git.
"""

from __future__ import annotations

from robustness_study.core.cell import WEIGHTS_DIGEST, Cell
from robustness_study.core.files import copy_file, read_npz, read_record
from robustness_study.core.fits import refuse_beyond, refuse_labels, refuse_shape
from robustness_study.core.program import run
from robustness_study.planes.picture import caption_of, draw


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    (labels,) = read_npz("data/raw/test.npz", "labels")
    classes = read_record("data/raw/source.json", "classes")["classes"]
    refuse_labels("data/raw/test.npz", labels, len(classes))
    names = ("clean", "clean_taken", "corrupted", "attacked", "test_indices", "attacked_indices")
    points = dict(zip(names, read_npz(cell.embedded, *names), strict=True))
    chosen, attacked = points["test_indices"], points["attacked_indices"]
    refuse_beyond(cell.embedded, len(labels), chosen, attacked)
    whole, part = (len(chosen), 2), (len(attacked), 2)
    refuse_shape(cell.embedded, **{name: (points[name], part if name == "attacked" else whole) for name in names[:4]})
    notes = read_record(cell.embedded.with_suffix(".json"), WEIGHTS_DIGEST)
    (weights,) = read_npz(cell.embedded, WEIGHTS_DIGEST)
    cell.refuse_other_model(cell.embedded, weights, notes[WEIGHTS_DIGEST])
    draw(cell.plane("plane.png"), points, labels, classes, notes)
    copy_file(cell.embedded.with_suffix(".json"), cell.plane("plane.json"))
    print(caption_of(notes))


if __name__ == "__main__":
    run(main)
