"""A web server that sends one file, well or badly."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves `payload`. `ranges`: it honours Range. `cut`: it stops after this many bytes of a body."""

    payload = b""
    ranges = True
    cut: int | None = None
    status: int | None = None
    shift = 0  # of the range it sends against the one it was asked for
    stall = 0.0
    sized = True
    kind = "application/gzip"
    drip_s: float | None = None  # it sends a byte at a time, with this pause between two

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.sent: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/file"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server

    def do_GET(self) -> None:
        """Send the file, or the part of it that is asked for."""
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        time.sleep(server.stall)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) + server.shift if wanted and server.ranges else 0
        if start >= len(server.payload):
            self.answer(416, b"", f"bytes */{len(server.payload)}")
        elif start:
            self.answer(206, server.payload[start:], f"bytes {start}-{len(server.payload) - 1}/{len(server.payload)}")
        else:
            self.answer(server.status or 200, server.payload)

    def answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        """Send the headers and the body, as far as the server's settings let it."""
        body_sent = body[: self.server.cut]
        self.server.sent.append(len(body_sent))  # first, because the client may finish before this thread continues
        self.send_response(status)
        self.send_header("Content-Type", self.server.kind)
        if self.server.sized:
            self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the client has had enough
            if self.server.drip_s is None:
                self.wfile.write(body_sent)
            else:
                for value in body_sent:
                    self.wfile.write(bytes([value]))
                    time.sleep(self.server.drip_s)

    def log_message(self, *_: object) -> None:
        """Print nothing, so that the output stays clean."""


@contextmanager
def serving(payload: bytes) -> Iterator[Server]:
    """A server of these bytes while the `with` block runs."""
    with Server() as server:
        server.payload = payload
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
