"""Pictures, drawn without a display and written without a clock: the same values give the same bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from robustness_study.core.files import replacing

# Okabe & Ito's palette, told apart by people with any colour vision; then more, for many classes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000", "#999999", "#7B4F9E")


def colour(position: int) -> str:
    """The colour of the class or model at that position."""
    return COLOURS[position % len(COLOURS)]


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG with no metadata, whole or not at all."""
    with replacing(path) as beside:
        figure.savefig(beside, dpi=110, metadata={"Software": None})
