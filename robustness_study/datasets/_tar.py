"""Reads a tar archive strictly forward, within limits, because a stranger may have made it.

Python's `tarfile` is not used. In Python 3.11.7, a negative size makes it read one header endlessly, a sparse file can
make it unpack the archive again and again, and its time for a pax header grows with the square of the header's length.
Formats: https://www.gnu.org/software/tar/manual/html_node/Standard.html (ustar and GNU), and
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html (pax)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

BLOCK = 512  # bytes of a header; contents are filled up to a multiple of it
CHUNK = 1 << 20  # bytes that are skipped at a time
MOST_HEADERS = 1000  # the official archives have 9
MOST_EXTENSION = 1 << 16  # bytes of what says more about the next member
REGULAR, WITHOUT_CONTENT = b"07\0", b"123456"  # types of members; the second are links, devices, folders and pipes
LONG_NAME, LONG_LINK, PAX, PAX_OF_ALL = b"L", b"K", b"x", b"g"


class Forward:
    """A stream that is only read forward, and of which there are at most `most` bytes."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self.stream, self.most, self.left = stream, most, most

    def read(self, size: int) -> bytes:
        """The next `size` bytes, or fewer at the end. Raises ValueError if the stream has more than `most` bytes."""
        content = self.stream.read(min(size, self.left + 1))
        self.left -= len(content)
        if self.left < 0:
            raise ValueError(f"it unpacks to more than {self.most:,} bytes")
        return content

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises ValueError if there are fewer."""
        content = self.read(size)
        if len(content) < size:
            raise ValueError("it ends too early")
        return content

    def skip(self, size: int) -> None:
        """Go on by `size` bytes. Raises ValueError if there are fewer."""
        for start in range(0, size, CHUNK):
            self.take(min(CHUNK, size - start))

    def finish(self) -> None:
        """Go on to the end, because gzip compares its checksum only there."""
        while self.read(CHUNK):
            pass


class Member:
    """A member of an archive: its name without folders, whether it is a regular file, and its size in bytes."""

    def __init__(self, name: bytes, regular: bool, size: int, stream: Forward) -> None:
        self.name = PurePosixPath(name.partition(b"\0")[0].decode("utf-8", errors="replace")).name
        self.regular, self.size = regular, size
        self.stream, self.unread = stream, size

    def read(self) -> bytes:
        """Its content. It can be read once, before the next member is asked for."""
        self.unread = 0
        return self.stream.take(self.size)


def members(stream: Forward) -> Iterator[Member]:
    """The members of an archive, one after the other. Raises ValueError if the archive is broken or unusual."""
    long_name: bytes | None = None
    for _ in range(MOST_HEADERS):
        header = stream.read(BLOCK)
        if not header.strip(b"\0"):  # the archive ends with zeros, or with its last member
            return
        kind, size = fields(header)
        if kind in (LONG_NAME, LONG_LINK, PAX, PAX_OF_ALL):
            if size > MOST_EXTENSION:
                raise ValueError(f"it has a header of {size:,} bytes, more than {MOST_EXTENSION:,}")
            content = stream.take(size)
            stream.skip(-size % BLOCK)
            if kind == LONG_NAME:
                long_name = content
            elif kind != LONG_LINK:
                long_name = path_of(content, kind) or long_name
            continue
        member = Member(long_name or header[:100], kind in REGULAR, size, stream)
        long_name = None
        yield member
        stream.skip(member.unread + -size % BLOCK)
    raise ValueError(f"it has {MOST_HEADERS:,} headers or more")


def fields(header: bytes) -> tuple[bytes, int]:
    """The type of a member, and how many bytes of content follow its header. Raises ValueError if they are not valid.

    The field before the name is not read: it holds folders only.
    """
    if len(header) < BLOCK or number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * ord(" "):
        raise ValueError("it is no tar archive, or a header in it is damaged")
    kind = header[156:157]
    if kind in WITHOUT_CONTENT:
        return kind, 0
    if kind not in REGULAR + LONG_NAME + LONG_LINK + PAX + PAX_OF_ALL:
        raise ValueError(f"it has a member of type {kind!r}, for example a sparse file; only ordinary files are read")
    return kind, number(header[124:136])


def number(field: bytes) -> int:
    """The number in a field: octal digits. Raises ValueError for others, such as a sign or a number above 8 GiB."""
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise ValueError(f"it is no tar archive, or has the number {digits!r} in a header")
    return int(digits or b"0", 8)


def path_of(content: bytes, kind: bytes) -> bytes | None:
    """The name in a pax header, if there is one. Raises ValueError if the header is broken or changes more than names.

    Each record is its own length in decimal digits, a space, a key, =, a value, and a line end.
    """
    path, at = None, 0
    while at < len(content):
        length, _, _ = content[at : at + 8].partition(b" ")
        end = at + (int(length) if length.isdigit() else 0)
        record = content[at + len(length) + 1 : end]
        key, equals, value = record.partition(b"=")
        if not equals or record[-1:] != b"\n" or end > len(content):
            raise ValueError("a pax header in it is broken")
        if key == b"size" or key.startswith(b"GNU.sparse.") or (key == b"path" and kind == PAX_OF_ALL):
            raise ValueError(f"a pax header in it sets {key[:20]!r}; only ordinary files are read")
        path = value[:-1] if key == b"path" else path
        at = end
    return path
