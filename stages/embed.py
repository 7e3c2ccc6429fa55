"""Stage `embed@LOSS-TRAINSET-SEED`: one UMAP plane for the features of clean, corrupted and attacked test images.

Reads the features in `data/evaluated/KEY.npz` and `data/attacked/KEY.npz`, and the raw test labels. Writes
`data/embedded/KEY.npz` (the points, which `render` draws) and `data/embedded/KEY.json` (how far to trust them).
"""

from __future__ import annotations

import numpy as np

from robustness_study.core import params
from robustness_study.core.cell import WEIGHTS_DIGEST, Cell
from robustness_study.core.files import read_npz, write_npz, write_record
from robustness_study.core.fits import refuse_beyond, refuse_shape
from robustness_study.core.program import run
from robustness_study.planes import umap_plane
from robustness_study.schema.embed import Embed


def main() -> None:
    """Fit UMAP to clean features; transform corrupted and attacked ones, and the clean ones again, into that plane."""
    cell = Cell.from_arguments(__doc__)
    section = params.section("embed", Embed)
    clean, corrupted, weights = read_npz(
        cell.evaluated, "test_clean_features", "test_corrupted_features", WEIGHTS_DIGEST
    )
    attacked, attacked_indices, epsilon, attacked_weights = read_npz(
        cell.attacked, "features", "test_indices", "epsilon_255", WEIGHTS_DIGEST
    )
    cell.refuse_other_model(cell.attacked, attacked_weights, str(weights))
    (labels,) = read_npz("data/raw/test.npz", "labels")
    refuse_beyond(cell.attacked, len(labels), attacked_indices)
    shape = len(labels), clean.shape[1]
    refuse_shape(cell.evaluated, test_clean_features=(clean, shape), test_corrupted_features=(corrupted, shape))
    refuse_shape(cell.attacked, features=(attacked, (len(attacked_indices), shape[1])), epsilon_255=(epsilon, ()))
    chosen = umap_plane.images_of_plane(labels, section)
    both, of_chosen, of_attacked = np.intersect1d(chosen, attacked_indices, return_indices=True)
    print(f"{cell.key}: fitting UMAP to {len(chosen)} clean images", flush=True)
    points, measures = umap_plane.placed(
        clean[chosen], corrupted[chosen], attacked[of_attacked], of_chosen, labels[chosen], section
    )
    indices = {"test_indices": chosen.astype(np.int32), "attacked_indices": both.astype(np.int32)}
    write_npz(cell.embedded, **points, weights_sha256=weights, **indices)
    notes = umap_plane.notes_of(cell.key, points, int(epsilon), shape[1], measures)
    write_record(cell.embedded.with_suffix(".json"), {**notes, WEIGHTS_DIGEST: str(weights)})


if __name__ == "__main__":
    run(main)
