"""The figure of one model's UMAP plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from stages.lib.figures import colour, save


def umap_planes(
    path: str | Path, clean: np.ndarray, corrupted: np.ndarray, labels: np.ndarray, classes: list[str], caption: str
) -> None:
    """Clean and corrupted images of one model in the same plane, N×2 each, coloured by class."""
    figure = Figure(figsize=(11.5, 5.9), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, points, title in ((left, clean, "clean (fitted)"), (right, corrupted, "corrupted (transformed)")):
        if points is corrupted:
            axis.scatter(*clean.T, s=2, color="#DDDDDD", linewidths=0, rasterized=True)
        for position, name in enumerate(classes):
            members = labels == position
            axis.scatter(*points[members].T, s=4, color=colour(position), linewidths=0, label=name, alpha=0.7)
        axis.set_title(title)
        axis.set_xticks([])
        axis.set_yticks([])
    handles, names = left.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", markerscale=4, frameon=False)
    figure.suptitle(caption, fontsize=10)
    save(figure, path)
