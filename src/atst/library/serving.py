"""A page for one person on this machine: a small HTTP server that knows a few addresses and no paths."""

import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from atst.errors import AtstError

LOOPBACK = "127.0.0.1"
LONGEST_BODY = 65536  # bytes of a request
IDLE_SECONDS = 60.0  # after which a connection that asks for nothing is closed
POLICY = (
    "default-src 'none'; script-src 'nonce-{}'; style-src 'unsafe-inline'; connect-src 'self'; "
    "media-src 'self'; img-src 'self'"
)

Json = dict[str, Any]


class Server:
    """Serves `page`, what `actions` answer, and sounds and pictures, at an address with a random token.

    Only at the loopback address. `page` gets a nonce for its script. An action gets the JSON object that was
    sent and returns one; an `AtstError` of it is a message for the page. `file` gives the MIME type and the
    bytes for `sound` or `picture` and a row number; a part of them is sent if asked for (`Range`). It is a
    context.
    """

    def __init__(
        self,
        page: Callable[[str], str],
        actions: Mapping[str, Callable[[Json], Json]],
        file: Callable[[str, int], tuple[str, bytes]],
        port: int = 0,
    ) -> None:
        self.page, self.actions, self.file = page, actions, file
        self.token = secrets.token_urlsafe(24)
        handler = type("Handler", (_Handler,), {"served": self})
        self._http = ThreadingHTTPServer((LOOPBACK, port), handler)
        self._http.daemon_threads = True
        self.hosts = {f"{name}:{self._http.server_port}" for name in (LOOPBACK, "localhost")}

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self._http.server_port}/{self.token}/"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    server_version, sys_version = "atst", ""

    def handle(self) -> None:
        with suppress(ConnectionError):  # a page that is left takes no answer
            super().handle()

    def do_GET(self) -> None:
        what = self._wanted()
        if what is None:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
        elif what == "":
            nonce = secrets.token_urlsafe(16)
            page = self.served.page(nonce).encode("utf-8", errors="replace")
            policy = {"Content-Security-Policy": POLICY.format(nonce)}
            self._send(HTTPStatus.OK, page, "text/html; charset=utf-8", policy)
        elif match := re.fullmatch(r"(sound|picture)/(\d{1,9})", what):
            self._file(match[1], int(match[2]))
        elif what == "state":  # the one that changes nothing
            self._act(what, {})
        else:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

    def do_POST(self) -> None:
        what = self._wanted()
        size = self.headers.get("Content-Length", "")
        if what is None or not size.isdecimal() or int(size) > LONGEST_BODY:
            self.close_connection = True  # what was sent is not read
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        try:
            sent = json.loads(self.rfile.read(int(size)))
        except ValueError:
            sent = None
        if not isinstance(sent, dict):
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "not a JSON object"})
            return
        self._act(what, sent)

    def log_message(self, format: str, *args: object) -> None:
        """No line a request."""

    def _wanted(self) -> str | None:
        """What stands behind the token; none without it, or under another host's name (DNS rebinding)."""
        token, _, what = self.path.removeprefix("/").partition("/")
        right = secrets.compare_digest(token.encode(errors="replace"), self.served.token.encode())
        return what if right and self.headers.get("Host") in self.served.hosts else None

    def _act(self, what: str, sent: Json) -> None:
        action = self.served.actions.get(what)
        if action is None:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        try:
            self._answer(HTTPStatus.OK, action(sent))
        except AtstError as error:
            self._answer(HTTPStatus.CONFLICT, {"error": str(error)})
        except (KeyError, TypeError, ValueError):  # not what this page sends
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "not a valid request"})

    def _file(self, what: str, row: int) -> None:
        try:
            kind, content = self.served.file(what, row)
        except IndexError:
            self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            return
        except AtstError as error:
            self._answer(HTTPStatus.CONFLICT, {"error": str(error)})
            return
        size, headers = len(content), {"Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d{1,12})-(\d{0,12})", self.headers.get("Range", ""))
        if span is None:
            self._send(HTTPStatus.OK, content, kind, headers)
            return
        first, last = int(span[1]), min(int(span[2] or size), size - 1)
        if first > last:
            headers["Content-Range"] = f"bytes */{size}"
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", kind, headers)
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._send(HTTPStatus.PARTIAL_CONTENT, content[first : last + 1], kind, headers)

    def _answer(self, status: HTTPStatus, answer: Json) -> None:
        self._send(status, json.dumps(answer).encode(), "application/json")

    def _send(
        self, status: HTTPStatus, content: bytes, kind: str, more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        headers |= {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", **(more or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
