"""Makes printing safe: no print ends a program, whatever the terminal's encoding is, and whether anybody reads it."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD = 2  # the largest descriptor of the three standard streams


class Unfailing(io.FileIO):
    """An open descriptor to write to. What cannot be written is dropped."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes. Returns how many of them need no other attempt: they are written or dropped."""
        try:
            while (written := super().write(data)) is None:  # the other end of a pipe is slow, and nobody may wait
                select.select([], [self], [])
        except OSError:  # nobody reads any more, or the disk is full
            return memoryview(data).nbytes
        return written


def make_unfailing() -> None:
    r"""Let `sys.stdout` and `sys.stderr` accept every text, and drop what cannot be written.

    A character that the encoding does not have is written as its number, such as `\u2192`. Streams that another program
    has put in the place of Python's own stay as they are.
    """
    # A file that is opened gets the number of a closed standard stream. Libraries in C would then print into the file.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _unfailing(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _unfailing(sys.stderr)


def _unfailing(stream: TextIO | None) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # None: it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    with contextlib.suppress(OSError):
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Unfailing(stream.fileno(), "wb", closefd=False)),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )
