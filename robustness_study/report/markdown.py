"""Text and tables in Markdown that show exactly what they are given, whatever characters a name has."""

from __future__ import annotations

import re

import pandas as pd

from robustness_study.plotting import visible

# What Markdown or its formulas would act on. An underscore inside a word stays as it is, and so does the last tilde.
MARKUP = re.compile(r"[\\`*\[\]|$]|(?<![^\W_])_|_(?![^\W_])|~(?=.*~)")
ENTITY, TAG = re.compile(r"&(?=#?\w+;)"), re.compile(r"<(?=[A-Za-z/!?])")


def escaped(text: str) -> str:
    """`text` for a paragraph or a table's cell: Markdown, formulas and HTML in it are shown, not interpreted."""
    return TAG.sub("&lt;", ENTITY.sub("&amp;", MARKUP.sub(r"\\\g<0>", visible(text))))


def table(frame: pd.DataFrame) -> str:
    """A frame as a table: numbers with four decimals; texts, also those of rows and columns, as they are.

    Without this, tabulate would read a class `007` as the number 7.
    """
    columns = [list(frame.index), *(list(frame[name]) for name in frame)]
    texts = [position for position, values in enumerate(columns) if any(isinstance(value, str) for value in values)]
    shown = frame.map(_escaped).rename(index=_escaped, columns=_escaped)
    return shown.to_markdown(floatfmt=".4f", disable_numparse=texts)


def _escaped(value: object) -> object:
    return escaped(value) if isinstance(value, str) else value


def listed(parts: list[str]) -> str:
    """Parts in words: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def bullets(lines: list[str]) -> str:
    """Lines as a list."""
    return "\n".join(f"- {line}" for line in lines)
