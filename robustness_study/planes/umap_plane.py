"""UMAP planes of features (McInnes et al. 2018, arXiv 1802.03426), and measures of how far a plane can be trusted.

Below 4,096 points UMAP searches neighbours exactly. For more points it gets a seeded index of neighbours, made by
nearest-neighbour descent (Dong et al. 2011). Precomputed exact neighbours are no alternative, because with them UMAP
cannot place new points in the plane. On one thread, the same features give the same bytes. Trustworthiness is defined
in Venna & Kaski 2001. This file imports no torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import derive_seed
from robustness_study.core.subsets import TEST_IMAGES, stratified
from robustness_study.core.threads import matrices_on_one_thread
from robustness_study.planes.numba_cache import PACKAGES, ensure_folder, keep_compiled
from robustness_study.schema.embed import Embed

if TYPE_CHECKING:
    from umap import UMAP


FEWEST = 10  # points; with fewer, a plane has no meaning
EXACT_BELOW = 4096  # points; the limit in UMAP itself


def images_of_plane(labels: np.ndarray, section: Embed) -> np.ndarray:
    """Sorted positions of the test images in every plane, with classes in proportion. `labels`, N, are of all of them.

    Raises StudyError if they are too few, if all are of one class, or if no two are of the same class. Then the
    silhouette, which compares distances within a class and between classes, does not exist.
    """
    chosen = stratified(labels, section.images, section.seed, TEST_IMAGES)
    classes = len(np.unique(labels[chosen]))
    where = f"params.yaml: embed.images is {section.images}"
    if len(chosen) < FEWEST:
        raise StudyError(f"{where}, but the dataset has only {len(labels)} test images; add some: {FEWEST} are needed")
    if classes == 1:
        raise StudyError(f"{where}, and all these test images are of one class; raise it, or add images of the others")
    if classes == len(chosen):
        most = len(np.unique(labels))
        enough = f"set it to at least {most + 1}" if len(labels) > most else "add test images"
        raise StudyError(f"{where}, and no two of these test images are of one class, as the plane needs; {enough}")
    return chosen


@dataclass(frozen=True)
class Plane:
    """A fitted plane: the points of the features it was fitted on, float32 N×2, and what is needed to place others."""

    points: np.ndarray
    indexed: np.ndarray | None  # N×k: neighbours in the index, without the point itself; None if the search was exact
    umap: UMAP
    anchor: np.ndarray  # the first of the features it was fitted on, 1×D

    def take(self, features: np.ndarray) -> np.ndarray:
        """The points of features M×D in this plane, float32 M×2. A point does not depend on the other features.

        UMAP chooses its number of steps from the smallest distance between a new and a fitted point. A fitted point is
        put first, so that this distance is always zero. It also makes UMAP treat the features of the fit as new ones.
        Without it, UMAP would return their fitted points.
        """
        with quiet():
            return self.umap.transform(np.concatenate([self.anchor, features]))[1:].astype(np.float32)


@matrices_on_one_thread()
def fit(features: np.ndarray, section: Embed, seed: int) -> Plane:
    """Fit a plane to features N×D. Raises StudyError if all points of the plane are the same.

    It also raises StudyError if numba cannot cache what it compiles.
    """
    ensure_folder()
    from umap import UMAP

    keep_compiled(*PACKAGES)
    count = min(section.neighbours, len(features) - 1)
    number = derive_seed(seed, "umap") % 2**32
    settings: dict[str, Any] = {"n_jobs": 1, "random_state": number}
    known: dict[str, Any] = {}
    if len(features) >= EXACT_BELOW:
        from pynndescent import NNDescent

        with quiet():
            index = NNDescent(features, metric=section.metric, n_neighbors=count, **settings)
            known["precomputed_knn"] = (*index.neighbor_graph, index)
    known["transform_seed"] = number
    umap = UMAP(n_neighbors=count, min_dist=section.min_dist, metric=section.metric, **known, **settings)
    with quiet():
        points = umap.fit_transform(features).astype(np.float32)
    if not points.std():
        raise StudyError("embed: UMAP put all images on one point; raise embed.neighbours or embed.min_dist")
    indexed = known["precomputed_knn"][0][:, 1:] if "precomputed_knn" in known else None
    return Plane(points, indexed, umap, features[:1])


@contextmanager
def quiet() -> Iterator[None]:
    """Hide two harmless warnings: a seed needs one thread (it gets one), and some functions cannot be cached."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        warnings.filterwarnings("ignore", message=".*Cannot cache compiled function")
        yield


def neighbours_of(section: Embed, points: int) -> int:
    """The number of neighbours for the measures. Trustworthiness needs fewer than half of the points."""
    return min(section.neighbours, points // 2 - 1)


def exact_neighbours(points: np.ndarray, neighbours: int, metric: str) -> np.ndarray:
    """The indices of the nearest neighbours of each point N×D, without the point itself, N×k."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=neighbours, metric=metric, algorithm="brute").fit(points)
    return search.kneighbors(return_distance=False)


def shared_share(nearest: np.ndarray, others: np.ndarray) -> float:
    """The mean share, in [0, 1], of each point's neighbours in `nearest` N×k that are also in `others` N×m."""
    return float(np.mean([np.isin(one, two).mean() for one, two in zip(nearest, others, strict=True)]))


def purity(nearest: np.ndarray, labels: np.ndarray) -> float:
    """The mean share, in [0, 1], of each point's neighbours N×k that have the label of the point."""
    return float((labels[nearest] == labels[:, None]).mean())


def trust(features: np.ndarray, points: np.ndarray, section: Embed) -> float:
    """Trustworthiness, in [0, 1]: 1 if each point's neighbours in the plane are also its neighbours in the features."""
    from sklearn.manifold import trustworthiness

    neighbours = neighbours_of(section, len(points))
    return float(trustworthiness(features, points, n_neighbors=neighbours, metric=section.metric))


@matrices_on_one_thread()
def quality(features: np.ndarray, plane: Plane, labels: np.ndarray, section: Embed) -> dict[str, float | None]:
    """Measures of how far a plane of features N×D with labels N can be trusted."""
    from sklearn.metrics import silhouette_score

    neighbours = neighbours_of(section, len(features))
    nearest = exact_neighbours(features, neighbours, section.metric)
    in_plane = exact_neighbours(plane.points, neighbours, "euclidean")
    return {
        "trustworthiness": trust(features, plane.points, section),
        "neighbour_purity_features": purity(nearest, labels),
        "neighbour_purity_plane": purity(in_plane, labels),
        "silhouette_features": float(silhouette_score(features, labels, metric=section.metric)),
        # The share of each point's nearest neighbours that the index found; None if the search was exact.
        "index_recall": (
            None if plane.indexed is None else shared_share(nearest[:, : plane.indexed.shape[1]], plane.indexed)
        ),
    }


def placed(
    clean: np.ndarray,
    corrupted: np.ndarray,
    attacked: np.ndarray,
    places: np.ndarray,
    labels: np.ndarray,
    section: Embed,
) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
    """The points of all images in a plane fitted to the clean ones, and its measures.

    `clean` and `corrupted` are the features, N×D, of the images of the plane with labels, N. `attacked`, M×D, are those
    of the plane's images at the positions `places`, M. The arrays are those of `data/embedded`: points N×2 or M×2.
    """
    features = clean.astype(np.float32)
    plane = fit(features, section, section.seed)
    moved = {"corrupted": plane.take(corrupted.astype(np.float32)), "attacked": plane.take(attacked.astype(np.float32))}
    # UMAP transforms even a clean image to another place than where it was fitted. So displacement is measured from the
    # place to which the clean image is transformed.
    still = plane.take(features)
    before = {"corrupted": still, "attacked": still[places]}
    measures = quality(features, plane, labels, section)
    measures["median_displacement_spreads_clean"] = displacement(plane.points, still, plane)
    for name, points in moved.items():
        measures[f"median_displacement_spreads_{name}"] = displacement(before[name], points, plane)
    return {"clean": plane.points, "clean_taken": still, **moved}, measures


def notes_of(
    model: str,
    points: Mapping[str, np.ndarray],
    epsilon_255: int,
    dimensions: int,
    measures: Mapping[str, float | None],
) -> dict[str, Any]:
    """The JSON beside a plane: numbers of images, size of the attack, and the measures of trust."""
    return {
        "model": model,
        "images": len(points["clean"]),
        "attacked_images": len(points["attacked"]),
        "epsilon_255": epsilon_255,
        "dimensions": dimensions,
        "measures": [{"measure": name, "value": value} for name, value in measures.items()],
    }


def displacement(before: np.ndarray, after: np.ndarray, plane: Plane) -> float:
    """The median distance that points N×2 moved, in units of the plane's root-mean-square radius."""
    radius = float(np.linalg.norm(plane.points.std(0)))
    return float(np.median(np.linalg.norm(after - before, axis=1))) / radius
