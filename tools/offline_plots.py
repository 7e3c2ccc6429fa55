"""The chart library of the `dvc plots` page, written from an installed package: no network, no file in git.

`.dvc/plots_page.html` loads the script this module writes. `python -m tools.offline_plots` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

import vl_convert

from robustness_study.core.files import write_text

SCRIPT = Path(__file__).resolve().parents[1] / ".dvc" / "vega" / "vega.js"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
VEGA_LITE = "5.21"  # DVC's templates and ours are written for Vega-Lite 5


def library(version: str = VEGA_LITE) -> str:
    """Vega, Vega-Lite and vega-embed as one plain script; it defines `vegaEmbed` and nothing else."""
    bundle = vl_convert.javascript_bundle(SNIPPET, version)
    return f'(() => {{\n"use strict";\n{bundle}\n}})();\n'  # the page has variables of its own


def main() -> None:
    """Write the script."""
    write_text(SCRIPT, library())
    print(f"{SCRIPT.relative_to(SCRIPT.parents[2])} is ready: `dvc plots` needs no network")


if __name__ == "__main__":
    main()
