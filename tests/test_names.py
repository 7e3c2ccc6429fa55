"""Class names as people write them: in pictures, tables, CSV files, the page of `dvc plots`, and errors."""

from __future__ import annotations

import csv
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_cells import CELLS, change_dataset, report_on, report_rows, write_study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robustness_study.attacks import example_grid
from robustness_study.core.errors import StudyError
from robustness_study.core.program import run
from robustness_study.planes import picture
from robustness_study.plotting import WIDEST, class_labels, save, visible
from robustness_study.report import charts, markdown
from robustness_study.results.headline import inert
from stages import compare, headline

NAMES = [
    "$", "$$", "$x$", r"$\frac$", r"\$", "a|b", "a,b", '"q"', "`x`", "*x*", "_x_", "__", "<b>", "<!--<script>", "&amp;",
    "[x](y)", r"\n", "#1", "007", "7", "1e3", "NA", "nan", "None", "true", " cat", "cat ", "a  b",
    "cat\u200b", "猫", "犬", "cat 猫 dog", "👨\u200d👩\u200d👧", "قطة", "cafe\u0301", "x" * 255, "W" * 60,
    "{refresh_tag}", "</script>", "~~s~~", "\\", "a\\|",
]  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that are saved. They are really drawn, and a warning, such as one about a glyph, is an error."""
    figures: list[Figure] = []

    def keep(figure: Figure, path: str | Path) -> None:
        figures.append(figure)
        save(figure, path)

    for module in (charts, picture, example_grid):
        monkeypatch.setattr(module, "save", keep)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield figures


# --- pictures ----------------------------------------------------------------------------------------------


def test_confusion_matrix_shows_every_name(drawn: list[Figure], tmp_path: Path) -> None:
    charts.confusion_grid(tmp_path / "a.png", {"m": np.eye(len(NAMES), dtype=int)}, NAMES)
    axis = drawn[0].axes[0]
    for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
        assert [label.get_text() for label in labels] == class_labels(NAMES)


@pytest.mark.parametrize("start", range(0, len(NAMES), 14))
def test_plane_shows_every_name(start: int, drawn: list[Figure], tmp_path: Path) -> None:
    names = NAMES[start : start + 14]
    labels = np.repeat(np.arange(len(names)), 2)
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    moved = {"corrupted": points + 1}
    picture.umap_planes(tmp_path / "a.png", points, labels, moved, moved, {"corrupted": labels}, names, "caption")
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == class_labels(names)


def test_examples_of_attacks_show_every_name(drawn: list[Figure], tmp_path: Path) -> None:
    names = NAMES[::3]
    images, labels = np.zeros((len(names), 3, 4, 4), np.float32), np.arange(len(names))
    example_grid.attack_examples(tmp_path / "a.png", images, images, labels, (labels, labels[::-1]), names, 8)
    titles = [axis.get_title() for axis in drawn[0].axes]
    shown = class_labels(names)
    assert titles == [*shown, *(f"label: {name}" for name in shown), *shown[::-1]]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat", "cat"),
        ("$$", "$$"),
        ("007", "007"),
        ("cafe\u0301", "café"),
        (" cat", "␣cat"),
        ("a   b", "a␣␣␣b"),
        ("a b", "a b"),
        ("cat\u00ad", r"cat\u00ad"),
        ("a\u00a0b", r"a\u00a0b"),
        ("قطة", "قطة"),
        ("猫", "1: …"),
        ("cat 猫猫 dog", "1: cat … dog"),
        ("👨\u200d👩\u200d👧", "1: …"),
        ("n01440764_tench_tinca", "1: n01440…tinca"),
        ("猫" * 40 + "cat", "1: …cat"),
    ],
)
def test_label_of_a_class(name: str, label: str) -> None:
    assert class_labels(["dog", name])[1] == label


def test_labels_are_short_and_differ() -> None:
    names = [*NAMES, *(f"{'x' * 90}{number}{'y' * 90}" for number in range(200))]
    shown = class_labels(names)
    assert len(set(shown)) == len(names)
    figure = Figure()
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    for label in shown:
        width = figure.text(0, 0, label, fontsize=100).get_window_extent(renderer).width / figure.dpi * 72
        assert width <= 1.05 * 100 * WIDEST, label


@pytest.mark.parametrize("pair", [("cat", "cat "), ("cat", "cat\u200b"), ("a b", "a  b"), ("ab", "a\u00adb")])
def test_names_that_look_the_same_are_told_apart(pair: tuple[str, str]) -> None:
    one, other = (visible(name) for name in pair)
    assert one != other and other.strip() == other


# --- tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("cross_entropy", "cross_entropy"),
        ("R&D", "R&D"),
        ("p < 0.1", "p < 0.1"),
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("`x`", r"\`x\`"),
        ("*x*", r"\*x\*"),
        ("_x_", r"\_x\_"),
        ("a__b", r"a\_\_b"),
        ("$x$", r"\$x\$"),
        ("[x](y)", r"\[x\](y)"),
        ("~~s~~", r"\~\~s\~~"),
        ("<!--<script>", "&lt;!--&lt;script>"),
        ("</td>", "&lt;/td>"),
        ("&amp;", "&amp;amp;"),
        ("&#36;", "&amp;#36;"),
        (" cat", "␣cat"),
        ("007", "007"),
        ("1e3", "1e3"),
        ("nan", "nan"),
        ("猫", "猫"),
    ],
)
def test_table_shows_a_name_as_it_is(name: str, cell: str) -> None:
    """Alone in its column, because a single text among numbers would make the whole column text."""
    frame = pd.DataFrame({name: [0.25], "text": [name]}, index=pd.Index([name], name="class"))
    head, _, row = markdown.table(frame).splitlines()
    assert [part.strip() for part in head.removesuffix("|").split(" | ")] == ["| class", cell, "text"]
    assert [part.strip() for part in row.removesuffix("|").split(" | ")] == [f"| {cell}", "0.2500", cell]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a study of two classes; pictures are not written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["headline", "--loss", "angular"])
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: Path(path).write_bytes(b""))
    write_study()
    return tmp_path


def first_column(path: str, column: int = 0) -> list[str]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.reader(file)][1:]


@pytest.mark.parametrize("pair", [("007", "1e3"), ("a,b", '"q"'), ("NA", "nan"), ("$", "$$")])
def test_files_of_the_comparison_hold_the_names(study: Path, pair: tuple[str, str]) -> None:
    for cell in CELLS:
        change_dataset(cell, classes=list(pair))
    compare.main()
    assert first_column("reports/tables/recall_per_class.csv") == list(pair)
    recalls = json.loads(Path("reports/statistics.json").read_text(encoding="utf-8"))["tables"]["recall_per_class"]
    assert {tuple(of_column) for of_column in recalls.values()} == {pair}
    in_report = [name for name in report_rows("Recall of each class") if not name.startswith((":", "class"))]
    assert in_report == [markdown.escaped(name) for name in pair]
    headline.main()
    assert set(first_column("reports/headline/confusion.csv", 1)) == set(pair)
    assert "counted from 0" not in report_on("Recall of each class")


@pytest.mark.parametrize(("name", "shown"), [("猫", "猫"), ("x" * 255, "x" * 255), ("cat ", "cat␣")])
def test_report_gives_numbers_where_pictures_change_a_name(study: Path, name: str, shown: str) -> None:
    for cell in CELLS:
        change_dataset(cell, classes=["cat", name])
    compare.main()
    rows = report_rows("Recall of each class")
    assert rows["number"][0] == "class" and (rows["0"][0], rows["1"][0]) == ("cat", shown)
    assert "counted from 0" in report_on("Recall of each class")


def test_report_shows_the_datasets_name_as_it_is(study: Path) -> None:
    for cell in CELLS:
        change_dataset(cell, name="<b>|*", origin="a `test`")
    compare.main()
    report = Path("reports/report.md").read_text(encoding="utf-8")
    assert r"Dataset: **&lt;b>\|\*** from a \`test\` (md5:0)." in report


# --- the page of dvc plots, and errors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["<!--<script>", "</script>", "</SCRIPT><b>", "<ScRiPt>", "{refresh_tag}", "{scripts}"]
)
def test_a_name_does_not_break_the_page_of_plots(name: str) -> None:
    """DVC writes the names into a script, and then replaces its own placeholders in braces."""
    written = inert(name)
    in_page = json.dumps(written).lower()
    assert not any(part in in_page for part in ("<!--", "<script", "</script", "{refresh_tag}", "{scripts}"))
    assert written.replace("\u2060", "") == name


@pytest.mark.parametrize("name", ["cat", "<b>", "a<b", "$$", "{x", "猫", "&amp;", "<", "{}"])
def test_other_names_are_written_as_they_are(name: str) -> None:
    assert inert(name) == name


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb", r"a\nb"), ("a\x1b[31m", r"a\x1b[31m"), ("\udcff", r"\udcff"), ("猫 é", "猫 é")]
)
def test_an_error_is_one_line_whatever_a_file_is_called(name: str, shown: str) -> None:
    def fails() -> None:
        raise StudyError(f"{name} does not exist")

    def misses() -> None:
        raise FileNotFoundError(2, "No such file", name)

    for main, line in ((fails, f"error: {shown} does not exist"), (misses, f"error: No such file: {shown}; correct")):
        with pytest.raises(SystemExit) as ended:
            run(main)
        assert str(ended.value).startswith(line)
