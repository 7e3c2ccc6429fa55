"""Writes the chart library for the `dvc plots` page from an installed package: no network, no file in git.

`.dvc/plots_page.html` loads the script that `python -m tools.offline_plots` writes.
"""

from __future__ import annotations

from pathlib import Path

from robustness_study.core.files import write_text
from robustness_study.core.program import run
from robustness_study.webpage.vega import library

SCRIPT = Path(__file__).resolve().parents[1] / ".dvc" / "vega" / "vega.js"
VEGA_LITE = "5.21"  # the templates of DVC and of this project are for Vega-Lite 5


def main() -> None:
    """Write the script."""
    write_text(SCRIPT, library(VEGA_LITE))
    print(f"wrote {SCRIPT.relative_to(SCRIPT.parents[2])}: `dvc plots` needs no network")


if __name__ == "__main__":
    run(main)
