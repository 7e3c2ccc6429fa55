"""Draws the picture in docs/corruptions.md: `python -m tools.contact_sheet` → `reports/corruptions.png`.

It shows matplotlib's sample photograph (Grace Hopper, by the US Navy), which is in the public domain, at 32 pixels. So
no image of a dataset is in git.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image

from robustness_study.core.program import run
from robustness_study.corruptions.__main__ import draw_sheet

TARGET = Path(__file__).parent.parent / "reports/corruptions.png"
BOX = (90, 15, 410, 335)  # the face, in pixels of the photograph
WIDTH = 32  # pixels


def photograph() -> np.ndarray:
    """The face in the photograph, uint8 WIDTH×WIDTH×3."""
    picture = Image.open(Path(get_data_path()) / "sample_data/grace_hopper.jpg").convert("RGB").crop(BOX)
    return np.asarray(picture.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS))


def main() -> None:
    draw_sheet(photograph(), TARGET, seed=0, split="test")


if __name__ == "__main__":
    run(main)
