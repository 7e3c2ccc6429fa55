"""Stage `contact_sheet`: one test image under every corruption of the suite, at every severity, as one picture.

Out: `reports/examples/corruptions.png`, cached and not in git, because it shows the dataset's image. `python -m
stages.lib.corruptions --sheet IN.npz OUT.png` draws the same of images of your own.
"""

from __future__ import annotations

from stages.lib import params
from stages.lib.errors import run
from stages.lib.files import read_npz
from stages.lib.schema.suite import Suite
from stages.lib.sheet_figure import contact_sheet


def main() -> None:
    section = params.section("suite", Suite)
    (images,) = read_npz("data/raw/test.npz", "images")
    rows = {}
    for name in section.corruptions:
        copies, indices = read_npz(f"data/suite/{name}.npz", "images", "indices")
        rows[name] = [images[indices[0]], *copies[:, 0]]
    contact_sheet("reports/examples/corruptions.png", rows)


if __name__ == "__main__":
    run(main)
