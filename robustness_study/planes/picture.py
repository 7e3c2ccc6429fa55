"""The picture of one model's UMAP plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustness_study.plotting import colour, save


def umap_planes(
    path: str | Path,
    fitted: np.ndarray,
    labels: np.ndarray,
    before: dict[str, np.ndarray],
    moved: dict[str, np.ndarray],
    moved_labels: dict[str, np.ndarray],
    classes: list[str],
    caption: str,
) -> None:
    """Draw one UMAP plane to `path`: `fitted`, N×2, are the points it was fitted on, coloured by `labels`, N.

    There is one more panel for each name in `moved`, for example attacked images: their points M×2 now, those `before`,
    M×2, and their labels, M. In it, an arrow for each class leads from the median of its points before to the median
    now.
    """
    figure = Figure(figsize=(4.6 * (1 + len(moved)) + 1.4, 5.6), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(moved), sharex=True, sharey=True)
    _scatter(first, fitted, labels, len(classes), 3)
    first.set_title(f"{len(fitted)} clean images (fitted)")
    for axis, (name, points) in zip(others, moved.items(), strict=True):
        axis.scatter(fitted[:, 0], fitted[:, 1], 2, color="#DDDDDD", linewidths=0, rasterized=True)
        _scatter(axis, points, moved_labels[name], len(classes), 4)
        for position in np.unique(moved_labels[name]):
            members = moved_labels[name] == position
            start, end = np.median(before[name][members], axis=0), np.median(points[members], axis=0)
            for width, shade in (
                (3.5, "white"),
                (1.5, colour(position)),
            ):  # a white rim makes the arrow visible among the points
                arrow = {"arrowstyle": "-|>", "color": shade, "linewidth": width, "mutation_scale": 14}
                axis.annotate("", xy=end, xytext=start, arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0})
        axis.set_title(f"{len(points)} {name} (transformed)")
    for axis in (first, *others):
        axis.set_xticks([])
        axis.set_yticks([])
    handles = [first.scatter([], [], 20, color=colour(position), label=name) for position, name in enumerate(classes)]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    figure.suptitle(caption, fontsize=10)
    save(figure, path)


def caption_of(notes: dict[str, Any]) -> str:
    """The caption above the plane: the number of images, and measures of its quality. `notes` is plane.json."""
    measures = {row["measure"]: row["value"] for row in notes["measures"]}
    dimensions = notes["dimensions"]
    return (
        f"{notes['model']}: UMAP of the features of {notes['images']} test images; {notes['attacked_images']} of them "
        f"attacked (FGSM, ε = {notes['epsilon_255']}/255)\n"
        f"Trustworthiness {measures['trustworthiness']:.3f}; neighbours of the same class "
        f"{measures['neighbour_purity_features']:.3f} in {dimensions} dimensions, "
        f"{measures['neighbour_purity_plane']:.3f} in the plane; silhouette in {dimensions} dimensions "
        f"{measures['silhouette_features']:.3f}"
    )


def _scatter(axis: Axes, points: np.ndarray, labels: np.ndarray, classes: int, size: float) -> None:
    for position in range(classes):
        members = labels == position
        axis.scatter(points[members, 0], points[members, 1], size, color=colour(position), linewidths=0, alpha=0.7)
