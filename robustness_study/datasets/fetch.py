"""Downloads one large file over HTTP, continues after an interruption, and checks the MD5 checksum.

During the download the bytes are in a `.part` file in the same folder. If the download stops, the next run continues
this file.
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

CHUNK = 1 << 16  # bytes; an interruption can lose at most this many
TIMEOUTS = (15.0, 60.0)  # seconds to wait for a connection, and for the next byte


class BrokenTransferError(Exception):
    """The server did not send the whole file. The text gives the reason."""


def fetch(url: str, target: Path, md5: str, timeouts: tuple[float, float] = TIMEOUTS) -> None:
    """Download `url` to `target`. Raises StudyError if that fails or if the file does not have this MD5 checksum.

    `timeouts` are the seconds to wait for a connection, and for the next byte.
    """
    import requests
    import urllib3

    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        transfer(url, part, timeouts)
    except (requests.RequestException, urllib3.exceptions.HTTPError, BrokenTransferError) as error:
        reason = str(error) if isinstance(error, BrokenTransferError) else type(error).__name__
        raise StudyError(
            f"cannot download {url} ({reason}); run the command again to continue (the part so far is kept), "
            f"or put the file at {target} yourself; `make demo` needs no network"
        ) from None
    except OSError as error:  # errors of requests are OSErrors as well; the branch above has handled those
        raise StudyError(
            f"cannot write {part} while downloading {url} ({error.strerror or error}); correct this, then run the "
            "command again to continue"
        ) from None
    found = md5_of(part)
    if found != md5:
        part.unlink()
        raise StudyError(
            f"the file from {url} has MD5 {found}, not {md5}; it was deleted, run the command again to download it"
        )
    part.replace(target)


def md5_of(path: Path) -> str:
    """The MD5 of a file in hexadecimal. It identifies a release but does not protect against forgery."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def transfer(url: str, part: Path, timeouts: tuple[float, float]) -> None:
    """Download the rest of `part`, from its present end. Raises BrokenTransferError or an error of requests."""
    import requests

    start = part.stat().st_size if part.exists() else 0
    # A range counts the bytes that are sent. With compression they would not be the bytes of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeouts) as response:
        if response.status_code == 416 and start:
            return  # nothing is left to send: the part is complete or wrong; the checksum will show which
        if response.status_code not in (200, 206):
            raise BrokenTransferError(f"HTTP status {response.status_code}")
        if response.status_code == 200:
            start = 0  # the server ignores the range and sends the whole file
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise BrokenTransferError("the server sent a different range of bytes from the one requested")
        receive(response, part, start)


def receive(response: Response, part: Path, start: int) -> None:
    """Write the body of a response to `part`, starting at byte `start`. urllib3 raises an error if it ends early."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    with part.open("ab" if start else "wb") as stream, progress(total, start) as advance:
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            stream.write(chunk)
            advance(len(chunk))


@contextmanager
def progress(total: int | None, done: int) -> Iterator[Callable[[int], object]]:
    """A function that receives the number of new bytes and shows progress: a bar on a terminal, else a line every 10 %.

    `total` is the length of the file in bytes (None if unknown), `done` the bytes that are already there.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, initial=done, unit="B", unit_scale=True) as bar:
            yield bar.update
    else:
        yield tenths(total, done)


def tenths(total: int | None, done: int) -> Callable[[int], None]:
    """A function that prints a line at every tenth of `total` bytes. It prints nothing if `total` is None."""

    def advance(count: int) -> None:
        nonlocal done
        before, done = done, done + count
        if total and before * 10 // total < done * 10 // total:
            # Not on standard error, because that holds only the one line of an error.
            print(f"downloaded {done * 10 // total * 10} % of {total:,} bytes", flush=True)

    return advance
