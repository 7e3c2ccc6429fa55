"""The suite's charts: a heat map per model, and accuracy against severity per group of corruptions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from robustness_study.plotting import colour, legend_below, save


def heat_maps(
    path: str | Path,
    accuracies: dict[str, dict[str, list[float]]],
    means: dict[str, float],
    seen: list[str],
    ends: list[int],
    of_benchmark: int,
    title: str,
) -> None:
    """Draws a panel per model, at most six in a row; in each, a row per corruption and a column per severity.

    `accuracies` maps model → corruption → five accuracies. `means` maps model → the mean in its title, over
    `of_benchmark` corruptions of CIFAR-10-C. The corruptions in `seen` get a star. A line is
    above each row number in `ends`.
    """
    names = list(next(iter(accuracies.values())))
    columns = min(6, len(accuracies))
    rows = math.ceil(len(accuracies) / columns)
    figure = Figure(figsize=(2.3 + 2.35 * columns, (1.3 + 0.27 * len(names)) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis in axes.flat[len(accuracies) :]:
        axis.set_axis_off()
    for axis, (model, by_corruption) in zip(axes.flat, accuracies.items(), strict=False):
        grid = np.array([by_corruption[name] for name in names])
        shown = axis.imshow(grid, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(grid):
            ink = "white" if value < 0.6 else "black"
            axis.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=7, color=ink)
        for end in ends:
            axis.axhline(end - 0.5, color="white", linewidth=2)
        axis.set_xticks(range(grid.shape[1]), [str(severity + 1) for severity in range(grid.shape[1])])
        axis.set_xlabel("severity")
        of = "CIFAR-10-C's 15" if of_benchmark == 15 else f"{of_benchmark} of CIFAR-10-C's 15"
        axis.set_title(f"{model}\nmean of {of}: {means[model]:.3f}", fontsize=8.5)
    for axis in axes[:, 0]:
        axis.set_yticks(range(len(names)), [f"{name}{' *' if name in seen else ''}" for name in names], fontsize=8)
    figure.colorbar(shown, ax=list(axes.flat), label="accuracy", fraction=0.04, pad=0.01)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def by_severity(
    path: str | Path, panels: dict[str, dict[str, list[tuple[float, float, float]]]], chance: float, title: str
) -> None:
    """Draws a panel per group of corruptions: accuracy against severity (0 is clean).

    `panels` maps group → model → (mean, low, high) for each severity. `chance` is the accuracy of guessing.
    """
    columns = 3
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(10.5, 0.9 + 2.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axis, (group, series) in zip(axes, panels.items(), strict=False):
        for position, (model, values) in enumerate(series.items()):
            places = np.arange(len(values))
            middle, low, high = np.array(values).T
            axis.plot(places, middle, marker="o", markersize=3.5, color=colour(position), label=model)
            axis.fill_between(
                places, low, high, color=colour(position), alpha=min(0.12, 0.5 / len(series)), linewidth=0
            )
        axis.axhline(chance, color="#777777", linestyle=":", linewidth=1)
        axis.set_title(group, fontsize=9)
        axis.set_ylim(0, 1)
        axis.grid(alpha=0.3)
    for axis in axes[len(panels) :]:
        axis.axis("off")
    for axis in axes[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel("severity (0: clean)")
        axis.tick_params(labelbottom=True)
    for axis in axes[::columns]:
        axis.set_ylabel("accuracy")
    handles, labels = axes[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, min(len(labels), 4), 9)
    figure.suptitle(title, fontsize=10)
    save(figure, path)
