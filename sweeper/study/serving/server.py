"""The server of the live page: three fixed files and one answer in JSON, to this machine alone."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from mdaf.pages.document import style

HOST: Final = "127.0.0.1"
FRESH_SECONDS: Final = 2.0  # an answer is given again for so long, however many pages ask
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Read = Callable[[str | None], dict[str, Any]]


class LivePage(ThreadingHTTPServer):
    """Serves what ``read`` gives for the name of a study; ``read`` raises nothing and says what is wrong in words."""

    daemon_threads = True

    def __init__(self, port: int, read: Read) -> None:
        self._read, self._known, self._lock = read, dict[str | None, tuple[float, bytes]](), threading.Lock()
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def answer(self, name: str | None) -> bytes:
        """The study as JSON; only one thread at a time asks the database."""
        with self._lock:
            when, known = self._known.get(name, (-FRESH_SECONDS, b""))
            if time.monotonic() - when >= FRESH_SECONDS:
                known = json.dumps(self._read(name), allow_nan=False).encode()
                self._known = {name: (time.monotonic(), known)}
            return known


class _Handler(BaseHTTPRequestHandler):
    server: LivePage
    server_version, sys_version = "mdaf-study", ""
    timeout = 30.0  # of a browser that connects and asks nothing

    def do_GET(self) -> None:
        """Answers a page, its style, its script, or the study."""
        if self.headers.get("Host") not in [f"{name}:{self.server.server_port}" for name in (HOST, "localhost")]:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", f"type {self.server.url}\n".encode())
            return
        asked = urlsplit(self.path)
        if asked.path == "/":
            self._send(HTTPStatus.OK, "text/html", _file("page.html"))
        elif asked.path == "/live.js":
            self._send(HTTPStatus.OK, "text/javascript", _file("live.js"))
        elif asked.path == "/style.css":
            self._send(HTTPStatus.OK, "text/css", style().encode() + _file("live.css"))
        elif asked.path == "/study.json":
            name = parse_qs(asked.query).get("study", [None])[0]
            self._send(HTTPStatus.OK, "application/json", self.server.answer(name))
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is no such page\n")

    def do_HEAD(self) -> None:
        """The same without the content."""
        self.do_GET()

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: the terminal belongs to the user."""


def _file(name: str) -> bytes:
    return resources.files("mdaf.sweeper.study.serving").joinpath(name).read_bytes()
