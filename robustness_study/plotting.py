"""What all pictures share: text that people chose, colours, and saving without a display.

Files hold no time stamp, so the same values give the same bytes. Importing this module turns off matplotlib's formulas:
otherwise the dollar signs in two class names `$` would be an error after hours of training.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from robustness_study.core.files import replacing

matplotlib.rcParams["text.parse_math"] = False

# The palette of Okabe & Ito, which people with any colour vision can tell apart; then more colours, for many classes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000", "#999999", "#7B4F9E")
PAPER = ("#FFFFFF", "#DDDDDD")  # the background of charts, and the grey of points without a class
MANY = 20  # up to this number of classes, pictures show each class in full: its number, its name, its place in a legend
WIDEST = 9.0  # of a class name in a picture, in multiples of the font size: about 16 letters

DPI = 110  # pixels per inch


# --- text --------------------------------------------------------------------------------------------------


def visible(text: str) -> str:
    r"""`text` without characters that nobody sees: they would make two different names look the same.

    Each space that is at an end or next to another space becomes ␣. Each control, format or unusual space character
    becomes its number, for example `\u00ad`. The two joiners that emoji and some scripts need (U+200C, U+200D) stay.
    """
    shown = re.sub(r"^ +| +$| {2,}", lambda spaces: "␣" * len(spaces[0]), text)
    return "".join(
        character
        if character in " \u200c\u200d" or unicodedata.category(character)[0] not in "CZ"
        else f"\\u{ord(character):04x}"
        for character in shown
    )


def class_labels(names: Sequence[str]) -> list[str]:
    """The names of all classes for a picture, each at most `WIDEST` wide.

    A name that does not fit, or has characters that the font of the charts lacks, is shown in part, with `…` for what
    is left out. The number of the class comes first, as in `3: hous…boat`; classes are counted from 0.
    """
    return [_label(name, number) for number, name in enumerate(names)]


def _label(name: str, number: int) -> str:
    shown = unicodedata.normalize("NFC", visible(name))
    drawn = "".join(character if _width(character) is not None else "…" for character in shown)
    if drawn == shown and _widths(shown) <= WIDEST:
        return shown
    drawn = re.sub("[\u200c\u200d\ufe0f]*…[…\u200c\u200d\ufe0f]*", "…", drawn)
    room = WIDEST - _widths(f"{number}: …")
    if _widths(drawn) <= room:
        return f"{number}: {drawn}"
    start, end = 0, len(drawn)
    while _widths(drawn[: start + 1]) <= 0.6 * room:
        start += 1
    while _widths(drawn[:start] + drawn[end - 1 :]) <= room:
        end -= 1
    middle = drawn[:start].rstrip("…") + "…" + drawn[end:].lstrip("…")
    return f"{number}: {middle}"


def _widths(text: str) -> float:
    return sum(_width(character) or 0.0 for character in text)


@cache
def _width(character: str) -> float | None:
    """The width of a character in multiples of the font size; None if matplotlib's own font does not have it."""
    font = _font()
    if ord(character) not in font.get_charmap():
        return None
    return float(font.load_char(ord(character)).linearHoriAdvance) / 65536 / 100


@cache
def _font() -> FT2Font:
    font = FT2Font(findfont(FontProperties(family="DejaVu Sans"), fallback_to_default=False))
    font.set_size(100, 72)
    return font


# --- colours -----------------------------------------------------------------------------------------------


def colour(position: int) -> str:
    """The colour of the class or model at this position, counted from 0. No two of the first 500 are the same.

    After the colours of the palette, each is as different as possible from all before it (in CIELAB).
    """
    return COLOURS[position] if position < len(COLOURS) else _more_colours()[position - len(COLOURS)]


@cache
def _more_colours() -> tuple[str, ...]:
    levels = np.linspace(0, 255, 16).round().astype(int)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    places = _cielab(candidates)
    readable = (places[:, 0] > 25) & (places[:, 0] < 85)  # neither nearly black nor hardly visible on white
    candidates, places = candidates[readable], places[readable]
    taken = _cielab(np.array([[*bytes.fromhex(code[1:])] for code in (*COLOURS, *PAPER)]))
    nearest = np.linalg.norm(places[:, None] - taken, axis=2).min(1)
    found = []
    for _ in range(500 - len(COLOURS)):
        chosen = int(nearest.round(6).argmax())
        found.append("#{:02X}{:02X}{:02X}".format(*candidates[chosen]))
        nearest = np.minimum(nearest, np.linalg.norm(places - places[chosen], axis=1))
    return tuple(found)


def _cielab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of sRGB colours N×3 from 0 to 255, for the white point D65. Source: IEC 61966-2-1 and CIE 15."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)


# --- pictures ----------------------------------------------------------------------------------------------


def legend(figure: Figure, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """Put a legend beside a picture with constrained layout. `options` are those of `Figure.legend`."""
    made = figure.legend(handles, ["name"] * len(names), frameon=False, **options)
    for text, name in zip(made.get_texts(), names, strict=True):
        text.set_text(name)  # now, because matplotlib may leave out a label that begins with `_`


def legend_below(figure: Figure, handles: Sequence[Any], names: Sequence[str], columns: int, size: float) -> None:
    """Put a legend below a picture and make the picture taller for each row after the first.

    `size` is the size of the font in points.
    """
    legend(figure, handles, names, loc="outside lower center", ncols=columns, fontsize=size)
    rows = -(-len(names) // columns)
    figure.set_figheight(figure.get_figheight() + 1.75 * size / 72 * (rows - 1))


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG without metadata. If writing fails, no partial file is left at `path`."""
    with replacing(path) as beside:
        figure.savefig(beside, dpi=DPI, metadata={"Software": None})
