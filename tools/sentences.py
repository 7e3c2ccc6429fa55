"""Measures how long the sentences of the documentation are: `python -m tools.sentences [FILE.md …]`.

Prints a line per file: lines, sentences, words per sentence on average, and the longest sentence. Code blocks, tables,
headings and HTML are not prose and are not counted. A list item ends a sentence. Without arguments it reads README.md,
CONTRIBUTING.md and every page under docs/. Exits with 1 if a file has more than `MEAN_WORDS` words a sentence.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from robustness_study.core.program import run

TOP = Path(__file__).parents[1]
MEAN_WORDS = 22.0  # a sentence, on average
ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|et al|vs|cf)\.")


@dataclass(frozen=True)
class Prose:
    """The sentences of one page."""

    lines: int
    sentences: list[str]

    @property
    def mean_words(self) -> float:
        """Words per sentence on average; 0 for a page without prose."""
        return sum(len(words(each)) for each in self.sentences) / max(1, len(self.sentences))

    @property
    def longest(self) -> str:
        """The sentence with the most words; empty for a page without prose."""
        return max(self.sentences, key=lambda each: len(words(each)), default="")


def pages() -> list[Path]:
    """README.md, CONTRIBUTING.md and every page under docs/, sorted."""
    return [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted(TOP.glob("docs/**/*.md"))]


def read(markdown: str) -> Prose:
    """The sentences of a Markdown text."""
    text = re.sub(r"^(```|~~~).*?^\1", "", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"^(#.*|\|.*|!\[.*\]\(.*\))$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)  # the text of a link
    text = re.sub(r"`[^`]*`", "code", text)  # a code span is one word
    text = re.sub(r"^\s*([-*]|\d+\.|\*\*\d+\.\*\*) ", "\n\n", text, flags=re.MULTILINE)
    sentences = []
    for paragraph in re.split(r"\n\s*\n", ABBREVIATIONS.sub(r"\1", text)):
        joined = " ".join(paragraph.split())
        sentences += [part for part in re.split(r"(?<=[.!?])[*_)]*\s+", joined) if words(part)]
    return Prose(len(markdown.splitlines()), sentences)


def words(sentence: str) -> list[str]:
    """The words of a sentence: what holds at least one letter or digit."""
    return [word for word in sentence.split() if re.search(r"\w", word)]


def main() -> int:
    chosen = [Path(name) for name in sys.argv[1:]] or pages()
    too_long = False
    print(f"{'lines':>5} {'sentences':>9} {'mean':>5} {'longest':>7}  page")
    for path in chosen:
        prose = read(path.read_text(encoding="utf-8", errors="replace"))
        name = path.relative_to(TOP) if path.is_relative_to(TOP) else path
        most = len(words(prose.longest))
        print(f"{prose.lines:5} {len(prose.sentences):9} {prose.mean_words:5.1f} {most:7}  {name}")
        if most > 2 * MEAN_WORDS:
            print(f"      longest: {prose.longest}")
        too_long |= prose.mean_words > MEAN_WORDS
    return int(too_long)


if __name__ == "__main__":
    run(main)
