"""Saving of pictures, without a display. Files hold no time stamp, so the same values give the same bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from robustness_study.core.files import replacing

# The palette of Okabe & Ito, which people with any colour vision can tell apart; then more colours, for many classes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000", "#999999", "#7B4F9E")


DPI = 110  # pixels per inch


def colour(position: int) -> str:
    """The colour of the class or model at this position, counted from 0; colours repeat after the last one."""
    return COLOURS[position % len(COLOURS)]


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG without metadata. If writing fails, no partial file is left at `path`."""
    with replacing(path) as beside:
        figure.savefig(beside, dpi=DPI, metadata={"Software": None})
