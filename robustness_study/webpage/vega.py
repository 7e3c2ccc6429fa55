"""The chart library as one script, from an installed package: no network, no file in git."""

from __future__ import annotations

SNIPPET = "window.vegaEmbed = vegaEmbed;"


def library(vega_lite: str) -> str:
    """Vega, Vega-Lite of this version and vega-embed as one script. It defines only `vegaEmbed`."""
    import vl_convert  # takes a moment

    bundle = vl_convert.javascript_bundle(SNIPPET, vega_lite)
    return f'(() => {{\n"use strict";\n{bundle}\n}})();\n'  # a function: its variables must not clash with the page's
