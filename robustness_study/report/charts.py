"""The comparison's charts: accuracies, accuracy against ε, transferred attacks, training curves, confusion."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from robustness_study.plotting import MANY, class_labels, colour, legend_below, save

MOST_INSIDE = 8  # entries of a legend inside the axes
MOST_LABELS = 64  # classes with a label at each side of a confusion matrix


def grouped_bars(
    path: str | Path,
    groups: list[str],
    series: dict[str, list[float]],
    errors: dict[str, list[tuple[float, float]]],
    title: str,
) -> None:
    """Draws accuracies as bars: a group per entry of `groups`, a bar per series, with intervals (low, high)."""
    figure = Figure(figsize=(1.6 + max(1.9, 0.45 * len(series)) * len(groups), 4.4), layout="constrained")
    axis = figure.subplots()
    width = 0.8 / len(series)
    for position, (name, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (position - (len(series) - 1) / 2) * width
        low, high = np.array(errors[name]).T
        whiskers = np.maximum([np.array(values) - low, high - np.array(values)], 0)
        axis.bar(places, values, width * 0.94, label=name, color=colour(position))
        axis.errorbar(places, values, whiskers, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        for place, value, top in zip(places, values, high, strict=True):
            axis.text(place, top + 0.012, f"{value:.3f}", ha="center", fontsize=8)
    axis.set_xticks(np.arange(len(groups)), groups)
    axis.set_ylim(0, 1.06)
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.set_ylabel("accuracy")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    axis.set_title(title, fontsize=10)
    save(figure, path)


def ladder(
    path: str | Path,
    epsilons_255: list[int],
    series: dict[str, np.ndarray],
    stronger: dict[str, tuple[str, dict[int, tuple[float, float, float]]]],
    chance: float,
    title: str,
) -> None:
    """Draws accuracy against epsilon, and the accuracy of guessing (`chance`) as a dotted line.

    `series` maps model → mean, low and high at each epsilon, epsilons×3. `stronger` maps some of the models → the name
    of a stronger attack and the accuracy under it: epsilon → mean, low and high. It is drawn dashed.
    """
    figure = Figure(figsize=(6.6, 4.4), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(epsilons_255))
    for position, (name, values) in enumerate(series.items()):
        mean, low, high = values.T
        axis.plot(places, mean, marker="o", markersize=4, label=name, color=colour(position))
        axis.fill_between(places, low, high, color=colour(position), alpha=min(0.15, 0.6 / len(series)), linewidth=0)
        if name in stronger:
            attack, accuracies = stronger[name]
            at = [epsilons_255.index(epsilon_255) for epsilon_255 in accuracies]
            mean, low, high = np.array(list(accuracies.values())).T
            errors = np.maximum([mean - low, high - mean], 0)
            axis.errorbar(at, mean, errors, fmt="x--", color=colour(position), linewidth=1, capsize=2, label=attack)
    axis.axhline(chance, color="#777777", linestyle=":", linewidth=1, label="guessing")
    axis.set_xticks(places, [str(value) for value in epsilons_255])
    axis.set_xlabel("ε (in 1/255)")
    axis.set_ylabel("accuracy")
    axis.set_ylim(0, 1)
    axis.grid(alpha=0.3)
    _legend(figure, axis)
    axis.set_title(title, fontsize=10)
    save(figure, path)


def transfer_matrix(path: str | Path, accuracies: pd.DataFrame, title: str) -> None:
    """Draws a matrix: the accuracy of the model of each column on images attacked through the model of each row."""
    count = len(accuracies)
    figure = Figure(figsize=(3.4 + 1.05 * count, 2.6 + 0.62 * count), layout="constrained")
    axis = figure.subplots()
    values = accuracies.to_numpy(dtype=float)
    axis.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axis.set_xticks(range(count), accuracies.columns, rotation=25, ha="right", fontsize=8)
    axis.set_yticks(range(count), accuracies.index, fontsize=8)
    axis.set_xlabel("classified by", fontsize=9)
    axis.set_ylabel("attacked through", fontsize=9)
    for (y, x), value in np.ndenumerate(values):
        axis.text(x, y, f"{value:.3f}", ha="center", va="center", color="black" if value > 0.6 else "white", fontsize=9)
    axis.set_title(title, fontsize=10)
    save(figure, path)


def training_curves(path: str | Path, curves: dict[str, dict[str, list[float]]]) -> None:
    """Draws accuracy against epoch for every model: validation solid, training dashed, under PGD dotted.

    The seeds of one loss and training set share a colour.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axis = figure.subplots()
    colours: dict[str, str] = {}
    for name, curve in curves.items():
        cell = name.rpartition("-")[0]
        label = None if cell in colours else cell
        shade = colours.setdefault(cell, colour(len(colours)))
        axis.plot(curve["epoch"], curve["val_accuracy"], label=label, color=shade)
        axis.plot(curve["epoch"], curve["train_accuracy"], color=shade, linestyle="--", linewidth=1)
        if "val_pgd_accuracy" in curve:
            axis.plot(curve["epoch"], curve["val_pgd_accuracy"], color=shade, linestyle=":")
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel("accuracy (validation solid, training dashed)")
    axis.set_ylim(0, 1)
    axis.grid(alpha=0.3)
    _legend(figure, axis)
    axis.set_title("On images of the kind that the model trains on, without augmentation", fontsize=10)
    save(figure, path)


def _legend(figure: Figure, axis: Axes) -> None:
    """A legend inside the axes, or below the picture where it has so many entries that it would cover the lines."""
    handles, names = axis.get_legend_handles_labels()
    if len(names) <= MOST_INSIDE:
        axis.legend(frameon=False, fontsize=9)
    else:
        legend_below(figure, handles, names, 2, 9)


def labelled_every(classes: int) -> int:
    """Every how many classes a confusion matrix has a label: all up to `MOST_LABELS` classes, then fewer."""
    return -(-classes // MOST_LABELS)


def confusion_grid(path: str | Path, matrices: dict[str, np.ndarray], classes: list[str]) -> None:
    """Draws one confusion matrix per model: counts, shaded by their share of the images with that true label.

    The classes are in the order of `classes`. Above `MANY` classes, the size of a matrix stays the same and it shows
    shades without counts; see also `labelled_every`.
    """
    columns = math.ceil(math.sqrt(len(matrices)))
    rows = math.ceil(len(matrices) / columns)
    side = 1.6 + 0.42 * min(len(classes), MANY)
    every = labelled_every(len(classes))
    places, names = range(0, len(classes), every), class_labels(classes)[::every]
    size = 8 if len(classes) <= 2 * MANY else 7
    figure = Figure(figsize=(side * columns, side * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(matrices) :]:
        axis.set_axis_off()
    for axis, (name, counts) in zip(axes, matrices.items(), strict=False):
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axis.set_xticks(places, names, rotation=90, fontsize=size)
        axis.set_yticks(places, names, fontsize=size)
        axis.set_xlabel("predicted", fontsize=9)
        axis.set_ylabel("true label", fontsize=9)
        axis.set_title(name, fontsize=10)
        if len(classes) > MANY:
            continue
        for y, x in np.ndindex(*counts.shape):
            if counts[y, x]:
                axis.text(
                    x,
                    y,
                    counts[y, x],
                    ha="center",
                    va="center",
                    fontsize=6,
                    color="white" if shares[y, x] > 0.5 else "black",
                )
    save(figure, path)
