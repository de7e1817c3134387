"""Who may use the served app: whoever has the token, from this server's own pages.

A browser carries requests of any page to any address it reaches, so being on loopback protects
nobody. Three questions are asked of every request: is it meant for this server (a page whose name
was pointed here, DNS rebinding, is not), does it come from one of its own pages, and does it know
the token. The token is asked for once; a cookie that no script and no other site can use stands for
it from then on, so that it stays neither in the address bar nor in a Referer.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REFUSED = "Open the link that `icemaze serve` printed: it holds the token of this server.\n"
FOREIGN = "This request comes from another page, or was meant for another server.\n"
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer; the page itself may load its own script, style and font besides."""


class Guard:
    """Asks the three questions. `names` are host names besides IP addresses and localhost."""

    def __init__(self, token: str, names: frozenset[str] = frozenset()) -> None:
        self._token = token
        self._session = secrets.token_urlsafe(32)
        self._names = names | {"localhost"}

    def is_meant_for_us(self, request: web.Request) -> bool:
        """Whether the Host header is an address, or a name of ours: one that was rebound is not."""
        host = _parts(request.headers.get("Host", ""))[0]
        return host in self._names or _is_address(host)

    def is_from_us(self, request: web.Request) -> bool:
        """Whether the page that asks is one of ours. Only sockets must say where they come from."""
        origin = request.headers.get("Origin")
        if origin is None:
            return request.path != "/ws"
        scheme, _, place = origin.partition("://")
        return scheme in ("http", "https") and place == request.headers.get("Host", "")

    def is_known(self, request: web.Request) -> bool:
        """Whether it has the cookie."""
        return _equal(request.cookies.get(self.cookie(request), ""), self._session)

    def has_token(self, request: web.Request) -> bool:
        """Whether it asks for the page with the token."""
        return request.path == "/" and _equal(request.query.get("token", ""), self._token)

    def let_in(self, request: web.Request) -> web.Response:
        """From the page with the token to the page without it, with a cookie in its place."""
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(
            self.cookie(request), self._session, httponly=True, samesite="Strict", path="/"
        )
        return answer

    @staticmethod
    def cookie(request: web.Request) -> str:
        """The cookie's name: with the port, for cookies are shared by all ports of a host."""
        return f"icemaze-{_parts(request.headers.get('Host', ''))[1]}"

    @web.middleware
    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer, or refuse."""
        answer: web.StreamResponse
        if not (self.is_meant_for_us(request) and self.is_from_us(request)):
            answer = web.Response(status=403, text=FOREIGN)
        elif request.method not in ("GET", "HEAD"):
            answer = web.Response(status=405, text="Only GET.\n")
        elif self.has_token(request):
            answer = self.let_in(request)
        elif not self.is_known(request):
            answer = web.Response(status=403, text=REFUSED)
        else:
            try:
                answer = await handler(request)
            except web.HTTPException as error:
                _add_headers(error)
                raise
        if not answer.prepared:
            _add_headers(answer)
        return answer


def _add_headers(answer: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)


def _parts(host: str) -> tuple[str, int]:
    """Name and port of a Host header; no name where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port or 80
    except ValueError:
        return "", 80


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _equal(given: str, expected: str) -> bool:
    """In a time that does not tell how much of it was right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
