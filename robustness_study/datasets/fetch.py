"""Fetching one large file over HTTP, going on after a break, and checking what came.

In: a URL, the MD5 checksum its publisher gives, the place to put it. Out: the file at that place, complete
and checked, or a StudyError. Until then the bytes are in a `.part` file beside it, which the next run
continues.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from robustness_study.core.errors import StudyError

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes; what a break can lose
TIMEOUTS = (15.0, 60.0)  # seconds to connect, and without a byte


class BrokenTransferError(Exception):
    """The server did not give the whole file; the text says how."""


def fetch(url: str, target: Path, md5: str, timeouts: tuple[float, float] = TIMEOUTS) -> None:
    """Put the file at `url` at `target`; StudyError if it cannot be had or is not the one with this MD5."""
    import requests
    import urllib3

    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        transfer(url, part, timeouts)
    except (requests.RequestException, urllib3.exceptions.HTTPError, BrokenTransferError) as error:
        reason = str(error) if isinstance(error, BrokenTransferError) else type(error).__name__
        raise StudyError(
            f"cannot fetch {url} ({reason}): run again, which continues the part fetched so far (it is kept), "
            f"or put the file at {target} yourself; `make demo` needs no network"
        ) from None
    except OSError as error:  # requests' own errors are OSErrors too; those that have a name were told above
        raise StudyError(
            f"cannot fetch {url} to {part} ({error.strerror or error}): put that right, then run again, which "
            "continues the part fetched so far"
        ) from None
    found = md5_of(part)
    if found != md5:
        part.unlink()
        raise StudyError(f"what {url} sent has MD5 {found}, not {md5}; it is deleted: run again to fetch it anew")
    part.replace(target)


def md5_of(path: Path) -> str:
    """A file's MD5 in hexadecimal: what the publisher names a release by, no protection against forgery."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def transfer(url: str, part: Path, timeouts: tuple[float, float]) -> None:
    """Bring `part` to its full length, from where it ends; BrokenTransferError if that fails."""
    import requests

    start = part.stat().st_size if part.exists() else 0
    # Ranges count bytes as sent, and a compressed transfer would be other bytes than the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeouts) as response:
        if response.status_code == 416 and start:
            return  # nothing follows what we have: complete or foreign, which the checksum tells
        if response.status_code not in (200, 206):
            raise BrokenTransferError(f"HTTP status {response.status_code}")
        if response.status_code == 200:
            start = 0  # the server sends the whole file, whatever was asked
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise BrokenTransferError("the server sent another range than asked for")
        receive(response, part, start)


def receive(response: Response, part: Path, start: int) -> None:
    """Write a response's body to `part` from byte `start` on; urllib3 raises if it ends early."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    with part.open("ab" if start else "wb") as stream, progress(total, start) as advance:
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            stream.write(chunk)
            advance(len(chunk))


@contextmanager
def progress(total: int | None, done: int) -> Iterator[Callable[[int], object]]:
    """A function to tell of bytes as they come: a bar on a terminal, else a line every 10 %."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, initial=done, unit="B", unit_scale=True) as bar:
            yield bar.update
    else:
        yield tenths(total, done)


def tenths(total: int | None, done: int) -> Callable[[int], None]:
    """A function that prints a line whenever another tenth of `total` is there (none if unknown)."""

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        if total and before * 10 // total < done * 10 // total:
            # Standard error is left to the one line that a failure prints.
            print(f"fetched {done * 10 // total * 10} % of {total:,} bytes", flush=True)

    return advance
