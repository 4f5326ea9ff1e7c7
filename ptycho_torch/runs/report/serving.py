"""Serving the report of a run under way to a browser on this machine."""

import contextlib
import os
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from ptycho.regular_files import read_regular

HOST: Final = "127.0.0.1"
_LARGEST: Final = 64 * 2**20
_WAITING: Final = (
    b"<!doctype html><html lang=en><title>No report yet</title><p>No report yet: it follows shortly.</p>"
)
"""What is shown until the run has written its first report."""


class Server(ThreadingHTTPServer):
    """Serves one file on the loopback interface, and nothing else.

    Args:
        path: the report, which may be missing yet.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, path: Path, port: int = 0) -> None:
        self.path = path
        super().__init__((HOST, port), _Handler)

    @property
    def url(self) -> str:
        """The address of the report."""
        return f"http://{HOST}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the page asks every few seconds."""

    def _answer(self) -> bytes:
        """Send the head of the answer; gives its body."""
        # another name may be one that a page from elsewhere has made lead to this machine
        names = (f"{HOST}:{self.server.server_port}", f"localhost:{self.server.server_port}")
        if self.path != "/" or self.headers.get("Host") not in names:
            self.send_error(HTTPStatus.NOT_FOUND)
            return b""
        content, tag, more = _WAITING, "none", {"Refresh": "2"}
        with contextlib.suppress(OSError, ValueError):
            tag = str(os.stat(self.server.path).st_mtime_ns)
            content, more = read_regular(self.server.path, _LARGEST), dict[str, str]()
        self.send_response(HTTPStatus.OK)
        more |= {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(content))}
        for name, value in {**more, "Cache-Control": "no-store", "ETag": f'"{tag}"'}.items():
            self.send_header(name, value)
        self.end_headers()
        return content
