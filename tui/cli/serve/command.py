"""`icemaze serve`: the app in a browser, for whoever has the link."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import secrets
import socket
from typing import Annotated

import typer

from engine.core.errors import UserError, shown
from tui.cli.output import say

TOKEN_VARIABLE = "ICEMAZE_SERVE_TOKEN"
TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,200}")
"""What needs no escape in a link, and is not soon guessed."""
LOOPBACK = "127.0.0.1"
INSTALL = "pip install 'icemaze[serve]' (in a checkout: pip install '.[serve]')"


def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where to listen; others than this machine reach 0.0.0.0."
        ),
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN_VARIABLE,
            metavar="TOKEN",
            show_default=False,
            help="Instead of a new one at each start; as a variable, other users do not see it.",
        ),
    ] = None,
    tabs: Annotated[
        int, typer.Option(min=1, max=64, help="How many tabs may be open: each is a process.")
    ] = 4,
) -> None:
    """Serve the app to a browser, by a link with a token that is new at each start.

    Only this machine reaches it unless --host says otherwise. Who has the link may do all that you
    may do in the app, so pass it on with care; the connection is not encrypted. Ctrl-C ends it;
    runs go on.
    """
    if importlib.util.find_spec("textual_serve") is None:
        raise UserError(f"`icemaze serve` needs the package textual-serve: {INSTALL}.")
    os.environ.pop(TOKEN_VARIABLE, None)
    if token is not None and not TOKEN.fullmatch(token):
        raise UserError(
            "--token: expected 16 to 200 letters, figures or any of . _ ~ - (leave it out for a "
            "new one at each start)."
        )
    bound = _bind(host, port)
    # start-up time: the server brings aiohttp
    from tui.cli.serve.guard import Guard
    from tui.cli.serve.server import MazeServer

    token = token or secrets.token_urlsafe(32)
    server = MazeServer(bound, Guard(token, frozenset({host.lower()})), tabs)
    _greet(host, bound, token)
    server.serve()


def _bind(host: str, port: int) -> socket.socket:
    """The socket to listen on. Raises UserError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"--host {shown(host)}: {getattr(error, 'strerror', None) or error}. Expected an "
            "address or a name of this machine."
        ) from error
    try:
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UserError(
            f"{shown(host)}, port {port}: {error.strerror or error}. --port 0 takes a free one."
        ) from error


def _greet(host: str, bound: socket.socket, token: str) -> None:
    here = bound.getsockname()
    address, port = here[0], here[1]
    local = ipaddress.ip_address(address).is_loopback
    everywhere = ipaddress.ip_address(address).is_unspecified
    name = f"[{host}]" if ":" in host else host
    if everywhere:
        name = _own_address(bound.family)
    say(f"Ice Maze is served at http://{name}:{port}/?token={token}")
    if local:
        say(
            f"Only this machine reaches it; from another one: ssh -L {port}:{host}:{port} "
            "THIS-MACHINE, then the same link there."
        )
    else:
        say(
            "Whoever has this link and reaches this machine may use it as you; it is not encrypted."
        )
    say("Ctrl-C ends it; runs go on.")


def _own_address(family: int) -> str:
    """An address of this machine that others may reach; none is contacted."""
    probe = "192.0.2.1" if family == socket.AF_INET else "2001:db8::1"  # for documentation only
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as datagram:
            datagram.connect((probe, 9))
            address = str(datagram.getsockname()[0])
    except OSError:
        return LOOPBACK if family == socket.AF_INET else "[::1]"
    return f"[{address}]" if ":" in address else address
