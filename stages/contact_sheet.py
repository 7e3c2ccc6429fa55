"""Stage `contact_sheet`: one test image under every corruption of the suite, at every severity, as one picture.

Out: `reports/examples/corruptions.png`, cached and not in git, because it shows the dataset's image. `python -m
robustness_study.corruptions --sheet IN.npz OUT.png` draws the same of images of your own.
"""

from __future__ import annotations

from robustness_study.core import params
from robustness_study.core.errors import run
from robustness_study.core.files import read_npz
from robustness_study.corruptions.contact_sheet import contact_sheet
from robustness_study.schema.suite import Suite


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
