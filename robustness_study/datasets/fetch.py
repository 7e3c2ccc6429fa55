"""Downloads one file over HTTP, continues after an interruption, and checks its checksum, MD5 or SHA-256.

During the download the bytes are in a `.part` file in the same folder. If the download stops, the next run continues
this file. A server that sends the whole file again, or something else, writes into a `.new` file. It replaces the
`.part` file only if it is better: complete and right, or longer with the same beginning.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustness_study.core.errors import StudyError
from robustness_study.core.files import flush

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 16  # bytes; an interruption can lose at most this many
ALGORITHMS = {32: ("md5", "MD5"), 64: ("sha256", "SHA-256")}  # hexadecimal digits → hashlib's name, the usual name


@dataclass(frozen=True)
class Limits:
    """What ends a download: seconds without a connection or a byte, too few bytes in a window of time, too many bytes.

    A file of `bytes` at the slowest speed allowed takes `bytes / slowest_bytes_per_s` seconds, so time is bounded too.
    """

    bytes: int
    connection_s: float = 15.0
    silence_s: float = 60.0
    window_s: float = 60.0
    slowest_bytes_per_s: float = 10_000.0


class BrokenTransferError(Exception):
    """The server did not send the whole file. The text gives the reason."""


class Watched:
    """A transfer that runs in a thread of its own, so that no server can hold the program.

    A server can send a byte now and then where no timeout of a socket looks: in its headers, for example. So the
    program looks at `done`, the bytes written so far, and gives the thread up if too few came in a window of time.
    """

    def __init__(self) -> None:
        self.done, self.so_far, self.given_up = 0, "0 bytes", False
        self.result: Path | BaseException | None = None

    def run(self, transfer: Callable[[Watched], Path], limits: Limits) -> Path:
        """The result of the transfer. Raises its error, or BrokenTransferError if it is too slow."""

        def work() -> None:
            try:
                self.result = transfer(self)
            except BaseException as error:
                self.result = error

        thread = threading.Thread(target=work, name="download", daemon=True)
        thread.start()
        while thread.is_alive():
            before, began = self.done, time.monotonic()
            thread.join(limits.window_s)
            speed = (self.done - before) / (time.monotonic() - began)
            if thread.is_alive() and speed < limits.slowest_bytes_per_s:
                self.given_up = True  # the thread writes no more
                raise BrokenTransferError(f"stalled at {self.so_far}, with {speed:,.0f} bytes a second")
        if isinstance(self.result, Path):
            return self.result
        assert self.result is not None, "a thread that ended has a result"
        raise self.result


def fetch(url: str, target: Path, checksum: str, limits: Limits) -> None:
    """Download `url` to `target`. Raises StudyError if that fails or if the file does not have this checksum.

    `checksum` is an MD5 or a SHA-256 in hexadecimal; its length says which.
    """
    import requests
    import urllib3

    part = target.with_name(target.name + ".part")
    new = target.with_name(target.name + ".new")
    part.parent.mkdir(parents=True, exist_ok=True)
    start = part.stat().st_size if part.exists() else 0
    try:
        received = Watched().run(lambda watched: transfer(url, part, new, limits, watched), limits)
        if received == part and start and digest_of(part, checksum) != checksum:
            # What came does not continue what was here. One of the two is wrong, so the whole file is asked for.
            os.truncate(part, start)
            received = Watched().run(lambda watched: whole(url, new, limits, watched), limits)
    except (requests.RequestException, urllib3.exceptions.HTTPError, BrokenTransferError, ValueError) as error:
        reason = str(error) if isinstance(error, BrokenTransferError) else type(error).__name__
        kept = keep_the_longer(part, new)
        raise StudyError(
            f"cannot download {url} ({reason}); run the command again to continue ({kept:,} bytes are kept), "
            f"or put the file at {target} yourself; `make demo` needs no network"
        ) from None
    except OSError as error:  # errors of requests are OSErrors as well; the branch above has handled those
        raise StudyError(
            f"cannot write {error.filename or part} while downloading {url} ({error.strerror or error}); correct this, "
            "then run the command again to continue"
        ) from None
    found = digest_of(received, checksum)
    if found != checksum:
        received.unlink()
        before = f", and {part.stat().st_size:,} bytes from before are kept" if part.exists() else ""
        raise StudyError(
            f"the file from {url} has {algorithm(checksum)} {found}, not {checksum}; it was deleted{before}; "
            "run the command again to download it, perhaps from another network: some answer with a page of their own"
        )
    flush(received)
    received.replace(target)
    flush(target.parent)
    part.unlink(missing_ok=True)


def keep_the_longer(part: Path, new: Path) -> int:
    """Let the `.new` file replace the `.part` file if it has the same beginning and more. Returns the bytes kept."""
    if new.exists():
        if part.exists() and new.stat().st_size > part.stat().st_size and same_beginning(part, new):
            new.replace(part)
        new.unlink(missing_ok=True)
    return part.stat().st_size if part.exists() else 0


def same_beginning(shorter: Path, longer: Path) -> bool:
    """Whether the longer file begins with the bytes of the shorter one."""
    with shorter.open("rb") as one, longer.open("rb") as other:
        while block := one.read(CHUNK):
            if other.read(len(block)) != block:
                return False
    return True


def digest_of(path: Path, checksum: str) -> str:
    """The digest of a file in hexadecimal, by the algorithm of `checksum`."""
    name = ALGORITHMS[len(checksum)][0]
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


def algorithm(checksum: str) -> str:
    """The name of the algorithm of a checksum, as in a message: "MD5" or "SHA-256"."""
    return ALGORITHMS[len(checksum)][1]


def transfer(url: str, part: Path, new: Path, limits: Limits, watched: Watched) -> Path:
    """Download what `part` lacks. Returns the file that is complete: `part`, or `new` if the server sent it all again.

    Raises BrokenTransferError or an error of requests.
    """
    start = part.stat().st_size if part.exists() else 0
    if not start:
        return whole(url, part, limits, watched)
    with asked(url, limits, {"Range": f"bytes={start}-"}) as response:
        if response.status_code == 200:  # the server ignores the range and sends the whole file, or something else
            receive(response, new, 0, limits, watched)
            return new
        if response.status_code == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise BrokenTransferError("the server sent a different range of bytes from the one requested")
            receive(response, part, start, limits, watched)
            return part
        if response.headers.get("Content-Range") == f"bytes */{start}":
            return part  # nothing is left to send: the part is complete or wrong; the checksum will show which
    return whole(url, new, limits, watched)  # the server has no byte there, so perhaps the part is too long


def whole(url: str, path: Path, limits: Limits, watched: Watched) -> Path:
    """Download the whole file to `path`. Raises BrokenTransferError or an error of requests."""
    with asked(url, limits, {}) as response:
        if response.status_code != 200:
            raise BrokenTransferError(f"HTTP status {response.status_code}")
        receive(response, path, 0, limits, watched)
    return path


@contextmanager
def asked(url: str, limits: Limits, headers: dict[str, str]) -> Iterator[Response]:
    """The server's answer. Raises BrokenTransferError if it is an error, or a web page in place of the file."""
    import requests

    # A range counts the bytes that are sent. With compression they would not be the bytes of the file.
    headers = {"Accept-Encoding": "identity", **headers}
    timeouts = (limits.connection_s, limits.silence_s)
    with requests.get(url, headers=headers, stream=True, timeout=timeouts) as response:
        if response.status_code not in (200, 206, 416):
            raise BrokenTransferError(f"HTTP status {response.status_code}")
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise BrokenTransferError("the server sent a web page, as the login page of a public network does")
        yield response


def receive(response: Response, part: Path, start: int, limits: Limits, watched: Watched) -> None:
    """Write the body of a response to `part`, starting at byte `start`. urllib3 raises an error if it ends early.

    Raises BrokenTransferError if the body is longer than allowed. Stops writing when it is given up.
    """
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    if total and total > limits.bytes:
        raise BrokenTransferError(
            f"the server sends {total:,} bytes, and the file cannot have more than {limits.bytes:,}"
        )
    done = start
    with part.open("ab" if start else "wb", buffering=0) as stream, progress(total, start) as advance:
        # Not `stream` or `iter_content`, which wait for a whole chunk however slowly it comes.
        while (chunk := response.raw.read1(CHUNK, decode_content=False)) and not watched.given_up:
            stream.write(chunk)
            advance(len(chunk))
            done += len(chunk)
            watched.done += len(chunk)
            watched.so_far = f"{done:,} bytes" if total is None else f"{done:,} of {total:,} bytes"
            if done > limits.bytes:
                stream.truncate(start)  # what came is not the file
                raise BrokenTransferError(
                    f"stopped after {watched.so_far}: the file cannot have more than {limits.bytes:,}"
                )


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
