"""UMAP planes of features (McInnes et al. 2018, arXiv 1802.03426), and how far one can be trusted. No torch import.

Up to 4,096 points UMAP searches neighbours exactly. For more it is given an index of them by nearest-neighbour descent
(Dong et al. 2011), seeded: exact neighbours, precomputed, could not take new points into the plane. On one thread, the
same features give the same bytes. Trustworthiness is of Venna & Kaski 2001.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.seeds import derive_seed
from robustness_study.planes.numba_cache import keep_compiled
from robustness_study.schema.embed import Embed

if TYPE_CHECKING:
    from umap import UMAP


FEWEST = 10  # points that a plane makes sense of
EXACT_BELOW = 4096  # points; UMAP's own limit


@dataclass(frozen=True)
class Plane:
    """Where the features it was fitted on lie, float32 N×2, and what takes others there."""

    points: np.ndarray
    indexed: np.ndarray | None  # neighbours that the index found of each, itself left out, N×k; None: exact ones
    umap: UMAP
    anchor: np.ndarray  # the first of the features it was fitted on, 1×D

    def take(self, features: np.ndarray) -> np.ndarray:
        """Where features M×D lie in the same plane, float32 M×2: each in its place, whatever the others are.

        UMAP chooses its number of steps from the smallest distance between a new and a fitted point. A fitted point
        goes first, so that this distance is always zero. With it, UMAP also takes the features that it was fitted on
        for new ones, and does not simply return the points fitted.
        """
        with quiet():
            return self.umap.transform(np.concatenate([self.anchor, features]))[1:].astype(np.float32)


def fit(features: np.ndarray, section: Embed, seed: int) -> Plane:
    """The plane of features N×D; StudyError if it is a single point."""
    from umap import UMAP

    keep_compiled("umap", "pynndescent")
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
    """Without the warnings that a seed needs one thread (it gets one), and that some functions cannot be kept."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")
        warnings.filterwarnings("ignore", message=".*Cannot cache compiled function")
        yield


def neighbours_of(section: Embed, points: int) -> int:
    """How many neighbours measures ask for: trustworthiness wants fewer than half of the points."""
    return min(section.neighbours, points // 2 - 1)


def exact_neighbours(points: np.ndarray, neighbours: int, metric: str) -> np.ndarray:
    """The nearest neighbours of each point N×D, itself left out, N×k."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=neighbours, metric=metric, algorithm="brute").fit(points)
    return search.kneighbors(return_distance=False)


def shared_share(nearest: np.ndarray, others: np.ndarray) -> float:
    """The mean share of each point's neighbours N×k that are also among its others N×m."""
    return float(np.mean([np.isin(one, two).mean() for one, two in zip(nearest, others, strict=True)]))


def purity(nearest: np.ndarray, labels: np.ndarray) -> float:
    """The mean share of each point's neighbours N×k that have its label."""
    return float((labels[nearest] == labels[:, None]).mean())


def trust(features: np.ndarray, points: np.ndarray, section: Embed) -> float:
    """How many of a point's neighbours in the plane are near it in the features too, in [0, 1]."""
    from sklearn.manifold import trustworthiness

    neighbours = neighbours_of(section, len(points))
    return float(trustworthiness(features, points, n_neighbors=neighbours, metric=section.metric))


def quality(features: np.ndarray, plane: Plane, labels: np.ndarray, section: Embed) -> dict[str, float | None]:
    """How far a plane of features N×D with labels N can be trusted."""
    from sklearn.metrics import silhouette_score

    neighbours = neighbours_of(section, len(features))
    nearest = exact_neighbours(features, neighbours, section.metric)
    in_plane = exact_neighbours(plane.points, neighbours, "euclidean")
    return {
        "trustworthiness": trust(features, plane.points, section),
        "neighbour_purity_features": purity(nearest, labels),
        "neighbour_purity_plane": purity(in_plane, labels),
        "silhouette_features": float(silhouette_score(features, labels, metric=section.metric)),
        # Of each point's nearest neighbours, the share that the index found; None: the search was exact.
        "index_recall": (
            None if plane.indexed is None else shared_share(nearest[:, : plane.indexed.shape[1]], plane.indexed)
        ),
    }


def displacement(before: np.ndarray, after: np.ndarray, plane: Plane) -> float:
    """How far points N×2 moved, the median, in units of the plane's spread (its root-mean-square radius)."""
    spread = float(np.linalg.norm(plane.points.std(0)))
    return float(np.median(np.linalg.norm(after - before, axis=1))) / spread
