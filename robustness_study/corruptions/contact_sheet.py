"""The contact sheet: a picture of one image under many corruptions, one row for each, one column for each severity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from robustness_study.plotting import save

INCHES = 0.62  # width of an image in inches


def contact_sheet(path: str | Path, rows: Mapping[str, Sequence[np.ndarray]], columns: int = 2) -> None:
    """Draw `rows`: name → images H×W×3, first the clean image, then severities 1, 2, and so on.

    The rows are in `columns` blocks next to each other, so that the sheet is about square.
    """
    names, severities = list(rows), len(next(iter(rows.values())))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(columns * (severities + 2.1) * INCHES, (lines + 0.6) * INCHES))
    grid = figure.add_gridspec(
        lines,
        columns * (severities + 2),
        left=0,
        right=1,
        bottom=0.002,
        top=1 - 0.5 / (lines + 0.6),
        wspace=0.04,
        hspace=0.04,
    )
    for position, name in enumerate(names):
        block, line = divmod(position, lines)
        first = block * (severities + 2)
        title = figure.add_subplot(grid[line, first : first + 2])
        title.axis("off")
        title.text(0.97, 0.5, name.replace("_", "\n", 1), ha="right", va="center", fontsize=7.5)
        for severity, image in enumerate(rows[name]):
            axis = figure.add_subplot(grid[line, first + 2 + severity])
            axis.imshow(image, interpolation="nearest")
            axis.axis("off")
            if line == 0:
                axis.set_title("clean" if severity == 0 else str(severity), fontsize=7.5, pad=3)
    save(figure, path)
