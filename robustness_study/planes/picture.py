"""The picture of one model's UMAP plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustness_study.plotting import MANY, class_labels, colour, legend, legend_below, save


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
    now. Up to `MANY` classes, the legend is at the right; more are in columns below, and their arrows are thinner.
    """
    many = len(classes) > MANY
    thickness = 0.5 if many else 1.0
    figure = Figure(figsize=(4.6 * (1 + len(moved)) + 1.4, 5.6), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(moved), sharex=True, sharey=True)
    _scatter(first, fitted, labels, 3)
    first.set_title(f"{len(fitted)} clean images (fitted)")
    for axis, (name, points) in zip(others, moved.items(), strict=True):
        axis.scatter(fitted[:, 0], fitted[:, 1], 2, color="#DDDDDD", linewidths=0, rasterized=True)
        _scatter(axis, points, moved_labels[name], 4)
        for position in np.unique(moved_labels[name]):
            members = moved_labels[name] == position
            start, end = np.median(before[name][members], axis=0), np.median(points[members], axis=0)
            for width, shade in (
                (3.5, "white"),
                (1.5, colour(position)),
            ):  # a white rim makes the arrow visible among the points
                arrow = {"arrowstyle": "-|>", "color": shade, "linewidth": width * thickness}
                arrow["mutation_scale"] = 14 * thickness
                axis.annotate("", xy=end, xytext=start, arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0})
        axis.set_title(f"{len(points)} {name} (transformed)")
    for axis in (first, *others):
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(caption, fontsize=10)
    handles = [first.scatter([], [], 20, color=colour(position)) for position in range(len(classes))]
    if many:
        legend_below(figure, handles, class_labels(classes), int(figure.get_figwidth() / 1.3), 6.5)
    else:
        legend(figure, handles, class_labels(classes), loc="outside right upper")
    save(figure, path)


def draw(
    path: str | Path, points: Mapping[str, np.ndarray], labels: np.ndarray, classes: list[str], notes: dict[str, Any]
) -> None:
    """Draw the plane of one model to `path`, from the arrays of `data/embedded` and the JSON beside them.

    `labels` are those of all test images.
    """
    chosen, attacked = points["test_indices"], points["attacked_indices"]
    taken = points["clean_taken"]
    before = {"corrupted": taken, "attacked": taken[np.searchsorted(chosen, attacked)]}
    after = {name: points[name] for name in before}
    of = {"corrupted": labels[chosen], "attacked": labels[attacked]}
    caption = caption_of(notes)  # distances in a UMAP plane mislead (Chari & Pachter 2023)
    umap_planes(path, points["clean"], labels[chosen], before, after, of, classes, caption)


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


def _scatter(axis: Axes, points: np.ndarray, labels: np.ndarray, size: float) -> None:
    order = np.argsort(labels, kind="stable")  # a later class is drawn over an earlier one
    colours = [colour(position) for position in labels[order]]
    axis.scatter(points[order, 0], points[order, 1], size, color=colours, linewidths=0, alpha=0.7)
