"""Stage `embed@LOSS-TRAINSET-SEED`: features of test images → one UMAP plane for clean, corrupted and attacked.

UMAP is fitted on clean features; corrupted, attacked and once more the clean ones are transformed into that plane.
How far images moved is measured from where the same images, clean, are transformed to. Out: `data/embedded/KEY.npz`,
the points, and `data/embedded/KEY.json`, how far to trust them. `render` draws the picture. No torch import.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core import params
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError, run
from robustness_study.core.files import read_npz, write_json, write_npz
from robustness_study.core.subsets import stratified
from robustness_study.planes import umap_plane
from robustness_study.schema.embed import Embed


def main() -> None:
    cell = Cell.from_arguments(__doc__)
    section = params.section("embed", Embed)
    clean, corrupted = read_npz(cell.evaluated, "test_clean_features", "test_corrupted_features")
    attacked, attacked_indices, epsilon = read_npz(cell.attacked, "features", "test_indices", "epsilon_255")
    (labels,) = read_npz("data/raw/test.npz", "labels")
    chosen = stratified(labels, section.images, section.seed, "embed")
    if len(chosen) < umap_plane.FEWEST:
        raise StudyError(f"embed: {len(chosen)} test images are too few for a plane; {umap_plane.FEWEST} are needed")
    both, of_chosen, of_attacked = np.intersect1d(chosen, attacked_indices, return_indices=True)
    if not len(both):
        raise StudyError("embed: none of its images is attacked; raise embed.images or attack.images")
    features = clean[chosen].astype(np.float32)
    print(f"{cell.key}: UMAP of {len(chosen)} clean images; corrupted and attacked ones into its plane", flush=True)
    plane = umap_plane.fit(features, section, section.seed)
    moved = {
        "corrupted": plane.take(corrupted[chosen].astype(np.float32)),
        "attacked": plane.take(attacked[of_attacked].astype(np.float32)),
    }
    # Transformed, even clean images do not lie where they were fitted. So displacement is measured from where the clean
    # images are transformed to.
    still = plane.take(features)
    before = {"corrupted": still, "attacked": still[of_chosen]}
    measures = umap_plane.quality(features, plane, labels[chosen], section)
    measures["median_displacement_spreads_clean"] = umap_plane.displacement(plane.points, still, plane)
    for name, points in moved.items():
        measures[f"median_displacement_spreads_{name}"] = umap_plane.displacement(before[name], points, plane)
    write_npz(
        cell.embedded,
        clean=plane.points,
        clean_taken=still,
        test_indices=chosen.astype(np.int32),
        attacked_indices=both.astype(np.int32),
        **moved,
    )
    write_json(
        cell.embedded.with_suffix(".json"),
        {
            "model": cell.key,
            "images": len(chosen),
            "attacked_images": len(both),
            "epsilon_255": int(epsilon),
            "dimensions": features.shape[1],
            "measures": [{"measure": name, "value": value} for name, value in measures.items()],
        },
    )


if __name__ == "__main__":
    run(main)
