"""Errors that the user can correct: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

LONGEST = 300  # characters of a message, however long the value is that it speaks of
HEAD = 140  # of these characters, from the beginning of a longer message


class StudyError(Exception):
    """An error that the user can correct. Its text is one line."""


def shortened(text: str) -> str:
    """`text` with at most 300 characters: the middle of a longer one is left out, as its end says what to do."""
    return text if len(text) <= LONGEST else f"{text[:HEAD]} … {text[-(LONGEST - HEAD - 3) :]}"


def one_line(text: str) -> str:
    r"""`text` with control and invisible characters as Python writes them, such as `\n`: file names may have them."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
