"""Who may connect to the page: checks of every request, before viser answers it.

viser's server accepts any WebSocket from any web page. The guard therefore stands before it. It demands a known host
name, a known origin, and a token that becomes a cookie. It answers two routes itself, Stop and the sign of life, so
that they work while the page is busy.
"""

from __future__ import annotations

import gzip
import hmac
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from uma.types import InputError
from uma_ros.teach.script import with_script

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine alone."""

LEAST_TOKEN = 8
"""Fewest characters of a token."""

HEADERS = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'; form-action 'self'; object-src 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer."""

_patching = threading.Lock()


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass
class Guard:
    """Checks of the requests to one server.

    Attributes:
        host, port: where the server listens; a host such as 0.0.0.0 admits every numeric address.
        on_stop: called for Stop, from the server's thread.
        on_alive: called with the name of a visible page, four times a second.
        token: opens the page once per browser, which then has a cookie.
        is_installed: whether a server passes its requests through this guard.
    """

    host: str
    port: int
    on_stop: Callable[[], None]
    on_alive: Callable[[str], None]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    is_installed: bool = False
    _secret: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    _page: tuple[bytes, bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if len(self.token) < LEAST_TOKEN:
            raise InputError(f"token: {len(self.token)} characters, must be at least {LEAST_TOKEN}")
        if not all(c.isalnum() or c in "-_" for c in self.token):
            raise InputError("token: must consist of letters, digits, - and _")

    @property
    def url(self) -> str:
        """The address with the token, for a browser."""
        host = self.host
        try:
            if ipaddress.ip_address(host).is_unspecified:
                host = own_address()
        except ValueError:
            pass
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"

    # -- checks --------------------------------------------------------------------------------------------------------

    def is_ours(self, authority: str) -> bool:
        """Return whether a Host, or the host of an Origin, names this server.

        A foreign name that resolves to this machine (DNS rebinding) does not.
        """
        try:
            parts = urlsplit(f"//{authority}")
            name, port = (parts.hostname or "").lower(), parts.port or 80
        except ValueError:
            return False
        if port != self.port or not name or parts.username is not None or parts.path:
            return False
        if is_loopback(self.host):
            return name in LOOPBACK
        own = {self.host.lower(), socket.gethostname().lower(), *LOOPBACK}
        return name in own or (_is_unspecified(self.host) and _is_address(name))

    def refusal(self, headers: Any, path: str) -> tuple[HTTPStatus, str] | None:
        """Return the status and reason of a refused request; None for a permitted one."""
        hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
        if len(hosts) != 1 or not self.is_ours(hosts[0]):
            return HTTPStatus.FORBIDDEN, "another host name than this server's"
        is_socket = "websocket" in ",".join(headers.get_all("Upgrade")).lower()
        if len(origins) > 1 or (is_socket and not origins):
            return HTTPStatus.FORBIDDEN, "a connection needs one origin"
        if origins and origins[0] != f"http://{hosts[0]}":
            return HTTPStatus.FORBIDDEN, "a page of another origin"
        if not self._knows(headers) and (is_socket or not self._has_token(path)):
            return HTTPStatus.UNAUTHORIZED, "open the address that `uma teach` printed: it contains the token"
        return None

    def _has_token(self, path: str) -> bool:
        url = urlsplit(path)
        given = parse_qs(url.query).get("token", [""])[0]
        return url.path == "/" and hmac.compare_digest(given.encode(), self.token.encode())

    @property
    def _cookie(self) -> str:
        return f"uma_teach_{self.port}"  # browsers do not tell ports apart

    def _knows(self, headers: Any) -> bool:
        for line in headers.get_all("Cookie"):
            for pair in line.split(";"):
                name, _, value = pair.strip().partition("=")
                if name == self._cookie and hmac.compare_digest(value.encode(), self._secret.encode()):
                    return True
        return False

    # -- answers -------------------------------------------------------------------------------------------------------

    def answer(self, connection: Any, request: Any, otherwise: Callable[[Any, Any], Any]) -> Any:
        """Return the response to a request; None lets a WebSocket through.

        Args:
            otherwise: viser's answer.
        """
        refused = self.refusal(request.headers, request.path)
        if refused is not None:
            return self._response(connection, *refused)
        url = urlsplit(request.path)
        if url.path == "/uma/stop":
            self.on_stop()
            return self._response(connection, HTTPStatus.OK, "stop sent")
        if url.path == "/uma/alive":
            self.on_alive(parse_qs(url.query).get("page", [""])[0][:64])
            return self._response(connection, HTTPStatus.OK, "")
        if url.path != "/" or "websocket" in (request.headers.get("Upgrade") or "").lower():
            return self._with_headers(otherwise(connection, request))
        return self._index(connection, request, otherwise)

    def _index(self, connection: Any, request: Any, otherwise: Callable[[Any, Any], Any]) -> Any:
        """Return viser's page with the guard's script and the cookie."""
        if self._page is None:
            headers = request.headers.copy()
            headers.pop("Accept-Encoding", None)
            page = with_script(otherwise(connection, replace(request, headers=headers)).body)
            self._page = page, gzip.compress(page)
        is_packed = "gzip" in (request.headers.get("Accept-Encoding") or "")
        body = self._page[is_packed]
        response = self._response(connection, HTTPStatus.OK, "")
        response.body = body
        for name in ("Content-Type", "Content-Length"):
            response.headers.pop(name, None)
        response.headers.update({"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body))})
        response.headers["Content-Encoding"] = "gzip" if is_packed else "identity"
        response.headers["Set-Cookie"] = f"{self._cookie}={self._secret}; HttpOnly; SameSite=Strict; Path=/"
        return response

    def _response(self, connection: Any, status: HTTPStatus, text: str) -> Any:
        return self._with_headers(connection.respond(status, f"{text}\n"))

    @staticmethod
    def _with_headers(response: Any) -> Any:
        if response is not None:
            for name, value in HEADERS.items():
                response.headers[name] = value
        return response

    # -- installation --------------------------------------------------------------------------------------------------

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Within the context, a new viser server passes its requests through this guard.

        Raises:
            RuntimeError: no server did.
        """
        import websockets.asyncio.server as module

        serve = module.serve

        def guarded(*args: Any, process_request: Any = None, **options: Any) -> Any:
            self.is_installed = True
            return serve(*args, process_request=lambda c, r: self.answer(c, r, process_request), **options)

        with _patching:
            module.serve = guarded  # type: ignore[assignment,misc]
            try:
                yield
            finally:
                module.serve = serve  # type: ignore[misc]
        if not self.is_installed:
            raise RuntimeError("viser did not pass the guard; its version must be >= 1.1.1 and < 1.2")


def own_address() -> str:
    """Return an address of this machine in its network; 127.0.0.1 without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_unspecified(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
