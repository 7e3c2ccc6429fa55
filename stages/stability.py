"""Stage `stability`: how much a UMAP plane depends on UMAP's seed, for the first model.

Reads the model's features in `data/evaluated/KEY.npz` and the raw test labels. Writes `data/shared/stability.json`.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from robustness_study.core import params
from robustness_study.core.cell import WEIGHTS_DIGEST, Cell
from robustness_study.core.files import read_npz, write_record
from robustness_study.core.fits import refuse_shape
from robustness_study.core.program import run
from robustness_study.planes import umap_plane
from robustness_study.schema.embed import Embed
from robustness_study.schema.stability import Stability


def main() -> None:
    """Fit a plane of the same features under each seed; compare which points are neighbours in each plane."""
    cell = Cell.from_arguments(__doc__)
    section, seeds = params.section("embed", Embed), params.section("stability", Stability).seeds
    features, weights = read_npz(cell.evaluated, "test_clean_features", WEIGHTS_DIGEST)
    (labels,) = read_npz("data/raw/test.npz", "labels")
    refuse_shape(cell.evaluated, test_clean_features=(features, (len(labels), None)))
    chosen = umap_plane.images_of_plane(labels, section)
    features, labels = features[chosen].astype(np.float32), labels[chosen]
    neighbours = umap_plane.neighbours_of(section, len(features))
    trusts, purities, nearest = [], [], []
    for seed in seeds:
        points = umap_plane.fit(features, section, seed).points
        nearest.append(umap_plane.exact_neighbours(points, neighbours, "euclidean"))
        trusts.append(umap_plane.trust(features, points, section))
        purities.append(umap_plane.purity(nearest[-1], labels))
        print(
            f"seed {seed}: trustworthiness {trusts[-1]:.3f}, neighbours of the same class {purities[-1]:.3f}",
            flush=True,
        )
    shared = [umap_plane.shared_share(one, other) for one, other in combinations(nearest, 2)]
    measures = {
        "shared_neighbours_mean": float(np.mean(shared)),
        "shared_neighbours_lowest": float(np.min(shared)),
        "trustworthiness_std": float(np.std(trusts, ddof=1)),
        "neighbour_purity_plane_std": float(np.std(purities, ddof=1)),
    }
    shown = f"{measures['shared_neighbours_mean']:.3f}"
    print(f"{cell.key}: two seeds share a fraction {shown} of each point's neighbours (mean over pairs of seeds)")
    rows = [{"measure": name, "value": value} for name, value in measures.items()]
    write_record(
        "data/shared/stability.json",
        {
            "model": cell.key,
            WEIGHTS_DIGEST: str(weights),
            "images": len(chosen),
            "neighbours": neighbours,
            "seeds": seeds,
            "measures": rows,
        },
    )


if __name__ == "__main__":
    run(main)
