"""Writes the page: fills the template, and puts style, scripts, chart library and data into the one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from robustness_study.core.cell import IMAGES_DIGEST
from robustness_study.core.errors import StudyError
from robustness_study.core.files import array_digest
from robustness_study.plotting import colour, visible
from robustness_study.report.study import Study
from robustness_study.webpage import charts, explorer, planes, sections
from robustness_study.webpage.shown import Shown
from robustness_study.webpage.vega import library

ASSETS = Path(__file__).parent / "assets"
VEGA_LITE = "6.1"
SCRIPTS = ("unpack", "charts", "heat", "explorer", "planes", "tables")  # in this order


def content(
    study: Study,
    models: Sequence[Shown],
    images: np.ndarray,
    labels: np.ndarray,
    copies: explorer.Copies,
    settings: Mapping[str, Any],
    made: Mapping[str, str],
) -> dict[str, Any]:
    """All that the page shows.

    `images`, uint8 N×S×S×3, and `labels`, N, are all test images. `models` are those of the first seed, `copies` gives
    images of the suite. `settings` are the settings to show, `made`
    says how the study was made. Raises StudyError if images are not those that the models were scored on.
    """
    if array_digest(images, labels) != study.first.evaluate[IMAGES_DIGEST]:
        raise StudyError(
            "data/raw/test.npz does not hold the images that the models were scored on; run `dvc repro`, or `dvc "
            "checkout` to restore it"
        )
    classes = [visible(name) for name in study.first.evaluate["dataset"]["classes"]]
    every_chart = charts.every_chart(study, models)
    every_table = sections.every_table(study, every_chart["calibration"]["rows"])
    return {
        "static": {
            "dataset": study.first.evaluate["dataset"],
            "verdicts": sections.verdicts(study),
            "alarms": sections.alarms(study),
            "controls": study.controls,
            "tables": every_table,
            "made": made,
            "settings": sections.as_yaml(settings),
        },
        "data": {
            "classes": classes,
            "colours": [colour(position) for position in range(max(len(classes), len(study.cells)))],
            "models": [model.name for model in models],
            "charts": every_chart,
            "heat": sections.heat(study),
            "explorer": explorer.content(images, labels, models, copies),
            "planes": planes.content(images, labels, models),
            "confusion": sections.confusion(study),
            "csv": {table["name"]: table["csv"] for table in every_table},
        },
    }


def page(found: dict[str, Any]) -> str:
    """The whole file, from what `content` returns."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    scripts = "\n".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    return environment.get_template("page.html").render(
        **found["static"],
        images=found["data"]["explorer"],
        planes=found["data"]["planes"],
        models=found["data"]["models"],
        charts=list(found["data"]["charts"]),
        style=Markup((ASSETS / "style.css").read_text(encoding="utf-8")),
        data=Markup(_inside_a_script(found["data"])),
        vega=Markup(library(VEGA_LITE).replace("</script", "<\\/script")),
        scripts=Markup(scripts),
    )


def _inside_a_script(data: dict[str, Any]) -> str:
    """JSON in which nothing ends the script element or begins a comment: `<` is written as an escape.

    Raises StudyError if a number is NaN or infinite: JSON has none.
    """
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise StudyError(
            "a number for the page is NaN or infinite; run `dvc repro -f` to make the results again"
        ) from None
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
