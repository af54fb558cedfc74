"""A real HTTP server on this machine for the tests: files with ranges and ETags, and the faults of real servers."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Fault:
    """What one GET of a file meets."""

    status: int = 0  # answer this status in place of the file
    after: int | None = None  # close the connection after so many bytes of the body
    hang: threading.Event | None = None  # wait for this before closing


@dataclass
class Server:
    """What is served, what goes wrong, and what was asked for."""

    files: dict[str, bytes]
    faults: dict[str, list[Fault]] = field(default_factory=dict)  # by name: used up one a GET; the last one stays
    answer: Callable[[str], bytes | None] = lambda _: None  # to a path with query that is no file
    ranges: bool = True
    validators: bool = True
    lengths: bool = True
    head: dict[str, bytes] = field(default_factory=dict)  # content that HEAD speaks of, where it is another
    asked: list[tuple[str, str, str]] = field(default_factory=list)  # method, name, range
    url: str = ""

    def gets(self, name: str) -> list[str]:
        """The range of each GET of a file, "" for the whole."""
        return [span for method, asked, span in self.asked if method == "GET" and asked == name]


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    served: Server

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.reply(with_body=False)

    def do_GET(self):
        self.reply(with_body=True)

    def reply(self, with_body: bool):
        served, name = self.served, urlsplit(self.path).path.rpartition("/")[2]
        served.asked.append((self.command, name, self.headers.get("Range", "")))
        fault = Fault()
        if with_body and served.faults.get(name):
            fault = served.faults[name].pop(0) if len(served.faults[name]) > 1 else served.faults[name][0]
        content = served.files.get(name, served.answer(self.path))
        if not with_body:
            content = served.head.get(name, content)
        if content is None or fault.status:
            self.send_response(fault.status or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self.start_of_range(content)
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if served.validators:
            self.send_header("ETag", etag(content))
        if served.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body[: fault.after])
            if fault.hang:
                fault.hang.wait(30)
        self.close_connection = fault.after is not None or not served.lengths

    def start_of_range(self, content: bytes) -> int:
        span, condition = self.headers.get("Range"), self.headers.get("If-Range")
        is_current = condition is None or (self.served.validators and condition == etag(content))
        if not (span and self.served.ranges and is_current):
            return 0
        return int(span.removeprefix("bytes=").removesuffix("-"))


@contextmanager
def serving(served: Server) -> Iterator[Server]:
    """Serve on a free port until the block ends."""
    handler = type("ServedHandler", (Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        served.url = f"http://127.0.0.1:{server.server_port}/2017/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
