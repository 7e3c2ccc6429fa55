"""Up to 256 classes and dozens of models: pictures, tables and files stay readable and small."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import vl_convert
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robustness_study.core.imports import ROOT
from robustness_study.evaluation.score import score_set
from robustness_study.planes import picture
from robustness_study.plotting import COLOURS, MANY, colour
from robustness_study.report import charts, pictures, recall, suite_charts
from robustness_study.report.study import Study
from robustness_study.results import headline
from robustness_study.results.cell_results import CellResults

COUNTS = [2, 10, MANY, MANY + 1, 41, 64, 65, 100, 256]


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved; they are laid out, but no file is written."""
    figures: list[Figure] = []

    def keep(figure: Figure, path: str | Path) -> None:
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        figures.append(figure)

    for module in (charts, suite_charts, picture):
        monkeypatch.setattr(module, "save", keep)
    return figures


def boxes_of_legend_and_axes(figure: Figure) -> tuple[Any, list[Any]]:
    (legend,) = figure.legends
    return legend.get_window_extent(), [axis.get_tightbbox() for axis in figure.axes]


# --- pictures ----------------------------------------------------------------------------------------------


def test_colours_differ() -> None:
    colours = [colour(position) for position in range(500)]
    assert len(set(colours)) == 500 and tuple(colours[: len(COLOURS)]) == COLOURS
    assert all(re.fullmatch("#[0-9A-F]{6}", code) for code in colours)
    # Those that a chart of models needs are far from each other and from white.
    rgb = np.array([[*bytes.fromhex(code[1:])] for code in [*colours[:30], "#FFFFFF"]], dtype=float)
    distances = [float(np.linalg.norm(one - other)) for one, other in itertools.combinations(rgb, 2)]
    assert min(distances) > 40


@pytest.mark.parametrize("count", COUNTS)
def test_confusion_matrices_stay_small_and_their_labels_apart(count: int, drawn: list[Figure]) -> None:
    charts.confusion_grid("a.png", {"one": np.eye(count, dtype=int)}, names(count))
    (figure,) = drawn
    assert max(figure.get_size_inches()) == pytest.approx(1.6 + 0.42 * min(count, MANY))
    axis = figure.axes[0]
    shown = [label.get_text() for label in axis.get_yticklabels()]
    assert shown == names(count)[:: charts.labelled_every(count)] and len(shown) > min(count, 64) / 2
    boxes = sorted((label.get_window_extent().y0, label.get_window_extent().y1) for label in axis.get_yticklabels())
    assert all(below[1] <= above[0] + 1 for below, above in itertools.pairwise(boxes))
    assert len(axis.texts) == (count if count <= MANY else 0)


@pytest.mark.parametrize("count", [10, MANY, MANY + 1, 41, 256])
def test_legend_of_a_plane_covers_no_panel(count: int, drawn: list[Figure]) -> None:
    labels = np.repeat(np.arange(count), 2)
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    moved = {"corrupted": points + 1, "attacked": points - 1}
    long = [f"{number} {'x' * 40}" for number in range(count)]
    picture.umap_planes("a.png", points, labels, moved, moved, dict.fromkeys(moved, labels), long, "caption")
    (figure,) = drawn
    legend, panels = boxes_of_legend_and_axes(figure)
    assert len(figure.legends[0].get_texts()) == count
    assert not any(legend.overlaps(panel) for panel in panels)
    assert legend.x0 >= 0 and legend.y0 >= 0 and legend.x1 <= figure.bbox.x1 + 1 and legend.y1 <= figure.bbox.y1 + 1
    assert min(panel.height for panel in panels) > 3.5 * figure.dpi and figure.get_figheight() < 11
    handles = figure.legends[0].legend_handles
    assert len({tuple(handle.get_facecolor()[0]) for handle in cast(list[Any], handles)}) == count


@pytest.mark.parametrize("count", [4, 12, 40])
def test_charts_of_many_models_repeat_no_colour(count: int, drawn: list[Figure]) -> None:
    models = [f"loss_{number}, clean" for number in range(count)]
    band = np.tile([0.5, 0.4, 0.6], (3, 1))
    charts.ladder("a.png", [0, 1, 2], dict.fromkeys(models, band), {}, 0.1, "title")
    curve = {key: [1.0, 2.0] for key in ("epoch", "val_accuracy", "train_accuracy")}
    charts.training_curves("b.png", {f"{model}-0": curve for model in models})
    suite_charts.by_severity("c.png", {"blur": dict.fromkeys(models, [(0.5, 0.4, 0.6)] * 6)}, 0.1, "title")
    for figure in drawn:
        lines = [line for line in figure.axes[0].lines if not str(line.get_label()).startswith(("_", "guessing"))]
        assert len({line.get_color() for line in lines}) == len(lines) == count
        if count > charts.MOST_INSIDE:
            legend, panels = boxes_of_legend_and_axes(figure)
            assert not any(legend.overlaps(panel) for panel in panels)
            assert legend.x0 >= 0 and legend.x1 <= figure.bbox.x1
            assert panels[0].height > 2 * figure.dpi


def test_values_above_the_bars_of_many_losses_do_not_meet(drawn: list[Figure]) -> None:
    series = {f"loss_{number}": [0.5, 0.5] for number in range(12)}
    charts.grouped_bars("a.png", ["a", "b"], series, dict.fromkeys(series, [(0.4, 0.6)] * 2), "title")
    texts = sorted(list(text.get_window_extent().extents) for text in drawn[0].axes[0].texts)
    assert all(one[2] < other[0] for one, other in itertools.pairwise(texts))


def test_heat_maps_of_many_models_are_in_rows(drawn: list[Figure]) -> None:
    models = [f"loss_{number}" for number in range(14)]
    values = {"fog": [0.5] * 5, "snow": [0.4] * 5}
    suite_charts.heat_maps("a.png", dict.fromkeys(models, values), dict.fromkeys(models, 0.5), [], [1], 15, "title")
    figure = drawn[0]
    assert figure.get_figwidth() < 17
    assert [axis.get_title().split("\n")[0] for axis in figure.axes if axis.get_title()] == models


# --- tables and files --------------------------------------------------------------------------------------


def recalls(means: list[float]) -> pd.DataFrame:
    summaries = [{"mean": mean, "std": None, "interval_95": None} for mean in means]
    return pd.DataFrame({"loss, clean → clean": summaries}, index=pd.Index(names(len(means)), name="class"))


def test_report_shows_the_lowest_recalls_of_many_classes() -> None:
    means = [0.5 + (7 * number % 256) / 1000 for number in range(256)]
    *texts, table = recall.section(recalls(means))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    lowest = sorted(range(256), key=lambda number: means[number])[:MANY]
    assert rows == [[str(number), f"class {number}", f"{means[number]:.4f}"] for number in lowest]
    assert "20 classes with the lowest recall" in " ".join(texts) and "](tables/recall_per_class.csv)" in texts[1]


def test_report_shows_every_recall_of_few_classes() -> None:
    text, table = recall.section(recalls([0.9, 0.5] * (MANY // 2)))
    assert "lowest" not in text
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == names(MANY)


@pytest.mark.parametrize(
    ("count", "says"), [(10, "numbers of images"), (21, "order of their numbers"), (256, "in 4 has")]
)
def test_caption_of_confusion_matrices(count: int, says: str) -> None:
    first = SimpleNamespace(
        evaluate={"dataset": {"classes": names(count)}},
        cell=SimpleNamespace(seed=0),
        predictions=lambda _: ([0] * 50, []),
    )
    (entry,) = (each for each in pictures.PICTURES if each.name == "confusion")
    assert says in entry.caption(cast(Study, SimpleNamespace(first=first, of_first_seed=", seed 0")))


def results(classes: list[str], counts: np.ndarray) -> CellResults:
    found = SimpleNamespace(evaluate={"dataset": {"classes": classes}}, confusion=lambda _: counts)
    return cast(CellResults, found)


@pytest.mark.parametrize("count", [MANY + 1, 256])
def test_confusion_counts_of_many_classes_leave_out_pairs_that_never_occur(count: int) -> None:
    counts = np.diag(np.arange(count))
    counts[3, 0] = counts[0, 5] = 2
    each = [results(names(count), counts)]
    frame = headline.confusion({"clean": each * 2, "corrupted": each})
    clean = frame[frame["train_set"] == "clean"]
    assert len(clean) == count + 2 and len(frame) == 2 * len(clean)
    # The diagonal is first and complete, so a chart that keeps the order of the data has the classes in order.
    assert clean["actual"][:count].tolist() == clean["predicted"][:count].tolist() == names(count)
    found = {
        (row.actual, row.predicted): row.count for row in clean[["actual", "predicted", "count"]].itertuples(name="R")
    }
    expected = Counter({(f"class {a}", f"class {p}"): 2 * counts[a, p] for a, p in np.ndindex(count, count)})
    assert +Counter(found) == +expected


def test_results_of_256_classes_are_small() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(256), 4).astype(np.uint8)
    logits = rng.normal(size=(len(labels), 256)).astype(np.float32)
    _, details = score_set(logits, {}, labels, names(256))
    assert len(json.dumps(details, indent=1)) < 60_000


# --- charts of dvc plots -----------------------------------------------------------------------------------


def svg(template: str, data: Sequence[Mapping[Any, Any]], **anchors: str | int) -> str:
    """A chart as DVC fills it in, as SVG."""
    text = (ROOT / f".dvc/plots/{template}.json").read_text(encoding="utf-8")
    filled: Mapping[str, Any] = {**anchors, "data": data, "title": "t", "row": {}}
    for name, value in filled.items():
        anchor = f"<DVC_METRIC_{name.upper()}>"
        text = text.replace(f'"{anchor}"', json.dumps(value)).replace(anchor, str(value))
    assert "<DVC" not in text
    return vl_convert.vegalite_to_svg(text, vl_version="5.21")


@pytest.mark.parametrize("count", [10, MANY, MANY + 1, 256])
def test_confusion_chart_of_dvc_plots(count: int) -> None:
    frame = headline.confusion({"clean": [results(names(count), np.diag([7] * count))]})
    data = [{**row, "rev": "workspace"} for row in frame.astype(str).to_dict("records")]
    labels = {"x": "actual", "y": "predicted", "x_label": "actual", "y_label": "predicted"}
    drawn = svg("confusion_counts", data, **labels, plot_width=300, plot_height=300)
    texts = re.findall(r'<text(?![^>]* opacity="0")[^>]*>([^<]*)</text>', drawn)
    assert texts.count("7") >= count if count <= MANY else texts.count("7") <= 1
    shown = [int(text.split()[1]) for text in texts if text.startswith("class ")]
    assert 4 <= len(shown) <= 60 and shown.index(0) == 0
    cells = re.findall(r'<path aria-label="actual: class[^>]*>', drawn)
    assert len(cells) >= count and all(('stroke-width="0"' in cell) == (count > MANY) for cell in cells)


def test_curves_of_many_models_repeat_no_colour() -> None:
    data = [
        {"model": f"loss-{number}", "epoch": str(epoch), "val_accuracy": str(number / 50), "rev": "workspace"}
        for number, epoch in itertools.product(range(40), (1, 2))
    ]
    drawn = svg("curves", data, x="epoch", y="val_accuracy", x_label="epoch", y_label="accuracy")
    lines = set(re.findall(r'<path[^>]*stroke="([^"]*)"[^>]*stroke-width="1.6"', drawn))
    assert len(lines) == 40
