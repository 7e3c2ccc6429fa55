"""Stage `embed@LOSS-TRAINSET-SEED`: features of test images → one UMAP plane for clean and corrupted.

UMAP (McInnes et al. 2018, arXiv 1802.03426) is fitted on clean features and corrupted ones are
transformed into that plane, so a point that moved is an image that moved. Distances in such a plane
mislead (Chari & Pachter 2023), so the caption says how far to trust it: trustworthiness (Venna & Kaski
2001) and the share of neighbours of the same class, in 512 dimensions and in the plane. Out:
`data/embedded/KEY.npz` (cached), and in git `embed.json` and `embed.png`. No torch import.
"""

from __future__ import annotations

import warnings

import numpy as np

from stages.lib import params
from stages.lib.cells import Cell
from stages.lib.errors import StudyError, run
from stages.lib.files import read_json, read_npz, write_json, write_npz
from stages.lib.schema.embed import Embed
from stages.lib.seeds import derive_seed
from stages.lib.subsets import stratified


def embed(clean: np.ndarray, corrupted: np.ndarray, section: Embed) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates N×2 of features N×512, the clean ones fitted, the corrupted ones transformed."""
    from umap import UMAP

    umap = UMAP(
        n_neighbors=min(section.neighbours, len(clean) - 1),
        min_dist=section.min_dist,
        metric=section.metric,
        # One thread: with several, the order of additions changes the plane from run to run.
        n_jobs=1,
        random_state=derive_seed(section.seed, "umap") % 2**32,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        plane = umap.fit_transform(clean)
        moved = umap.transform(corrupted)
    return plane.astype(np.float32), moved.astype(np.float32)


def neighbour_purity(points: np.ndarray, labels: np.ndarray, neighbours: int, metric: str) -> float:
    """The mean share of each point's nearest neighbours, itself left out, that have its label."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=neighbours, metric=metric, algorithm="brute").fit(points)
    nearest = search.kneighbors(return_distance=False)
    return float((labels[nearest] == labels[:, None]).mean())


def quality(
    clean: np.ndarray, plane: np.ndarray, moved: np.ndarray, labels: np.ndarray, section: Embed
) -> dict[str, float]:
    """How far the plane can be trusted, and how far the corrupted images moved in it."""
    from sklearn.manifold import trustworthiness

    neighbours = min(section.neighbours, len(clean) // 2 - 1)
    spread = float(np.linalg.norm(plane.std(0)))
    if spread == 0:
        raise StudyError("embed: UMAP put all images on one point; raise embed.neighbours or embed.min_dist")
    return {
        "trustworthiness": float(trustworthiness(clean, plane, n_neighbors=neighbours, metric=section.metric)),
        "neighbour_purity_512d": neighbour_purity(clean, labels, neighbours, section.metric),
        "neighbour_purity_plane": neighbour_purity(plane, labels, neighbours, "euclidean"),
        "median_displacement_spreads": float(np.median(np.linalg.norm(moved - plane, axis=1))) / spread,
    }


def main() -> None:
    from stages.lib.plane_figure import umap_planes

    cell = Cell.from_arguments(__doc__)
    section = params.section("embed", Embed)
    clean, corrupted = read_npz(f"data/evaluated/{cell.key}.npz", "test_clean_features", "test_corrupted_features")
    (labels,) = read_npz("data/raw/test.npz", "labels")
    classes = read_json("data/raw/source.json")["classes"]
    chosen = stratified(labels, section.images, section.seed, "embed")
    if len(chosen) < 10:
        raise StudyError(f"embed: {len(chosen)} test images are too few for a plane; 10 are needed")
    clean, corrupted = clean[chosen].astype(np.float32), corrupted[chosen].astype(np.float32)
    print(f"{cell.key}: UMAP of {len(chosen)} clean images, then as many corrupted ones into its plane", flush=True)
    plane, moved = embed(clean, corrupted, section)
    figures = quality(clean, plane, moved, labels[chosen], section)
    caption = (
        f"{cell.key}: UMAP of the features of {len(chosen)} test images\n"
        f"Trustworthiness {figures['trustworthiness']:.3f}; neighbours of the same class "
        f"{figures['neighbour_purity_512d']:.3f} in 512 dimensions, "
        f"{figures['neighbour_purity_plane']:.3f} in the plane"
    )
    write_npz(f"data/embedded/{cell.key}.npz", clean=plane, corrupted=moved, test_indices=chosen.astype(np.int32))
    umap_planes(cell.result("embed.png"), plane, moved, labels[chosen], classes, caption)
    rows = [{"measure": name, "value": value} for name, value in figures.items()]
    write_json(cell.result("embed.json"), {"model": cell.key, "images": len(chosen), "measures": rows})
    print(caption)


if __name__ == "__main__":
    run(main)
