"""textual-serve's server with a guard at its door, pages that load nothing from elsewhere, and
processes that are counted and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import Process
from pathlib import Path

import aiohttp_jinja2
from aiohttp import WSCloseCode, web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from tui.cli.serve.guard import HEADERS, Guard

CHILD = (sys.executable, "-P", "-m", "tui.cli.serve.child")
END_SECONDS = 5.0
"""How long the app of a tab may take to close; then it is killed."""
SHUTDOWN_SECONDS = 2.0
KEPT_ENVIRONMENT = "ICEMAZE_SERVE_TOKEN"
"""The one variable of ours that no process of a tab gets."""
FONT, SMALLEST, LARGEST = 16, 6, 48
CELLS = (20, 500)
FULL = "{n} tabs are open, as many as this server allows: close one, or start it with --tabs.\n"


class TabService(AppService):
    """The process of one tab: started without a shell, ended for sure."""

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        environment: dict[str, str] = super()._build_environment(width, height)
        environment.pop(KEPT_ENVIRONMENT, None)
        # The browser's terminal, not the one that the server was started from.
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
        environment["TEXTUAL_FPS"] = "15"
        return environment

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *CHILD,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self._build_environment(width, height),
            start_new_session=True,  # Ctrl-C in the server's terminal is the server's
        )
        self._process, self._stdin = process, process.stdin
        return process

    async def stop(self) -> None:
        """End the process: asked first, killed when it does not answer."""
        process = self._process
        if process is None:
            return
        try:
            await asyncio.wait_for(super().stop(), END_SECONDS)
            await asyncio.wait_for(process.wait(), END_SECONDS)
        except (TimeoutError, asyncio.CancelledError, OSError, RuntimeError):
            pass
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            self._process = None


class MazeServer(Server):
    """Serves the app on a socket that is bound already."""

    def __init__(self, bound: socket.socket, guard: Guard, tabs: int) -> None:
        host, port = bound.getsockname()[:2]
        templates = Path(__file__).parent
        super().__init__("icemaze", host, port, title="Ice Maze", templates_path=templates)
        self._socket, self._guard, self._tabs = bound, guard, tabs
        self._open: set[web.WebSocketResponse] = set()

    def initialize_logging(self) -> None:
        """Nothing about requests: their addresses may hold the token."""
        logging.getLogger("textual-serve").setLevel(logging.CRITICAL)

    async def _make_app(self) -> web.Application:
        app: web.Application = await super()._make_app()
        app.middlewares.append(self._guard.__call__)
        return app

    async def on_startup(self, app: web.Application) -> None:
        """Without textual-serve's greeting: the command has its own."""

    async def on_shutdown(self, app: web.Application) -> None:
        """Close every tab, which ends its process."""
        await asyncio.gather(
            *(each.close(code=WSCloseCode.GOING_AWAY) for each in list(self._open)),
            return_exceptions=True,
        )

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl-C or SIGTERM."""
        self.initialize_logging()
        loop = asyncio.new_event_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.request_exit)
        web.run_app(
            self._make_app(),
            sock=self._socket,
            handle_signals=False,
            loop=loop,
            print=None,
            access_log=None,
            shutdown_timeout=END_SECONDS + SHUTDOWN_SECONDS,
        )

    async def handle_index(self, request: web.Request) -> web.Response:
        """The page: everything it loads is this server's."""
        if len(self._open) >= self._tabs:
            raise web.HTTPServiceUnavailable(text=FULL.format(n=self._tabs))
        nonce = secrets.token_urlsafe(16)
        size = min(max(to_int(request.query.get("fontsize", ""), FONT), SMALLEST), LARGEST)
        host = request.headers["Host"]
        scheme = "wss" if request.secure else "ws"
        values = {"nonce": nonce, "font_size": size, "websocket": f"{scheme}://{host}/ws"}
        answer = aiohttp_jinja2.render_template("page.html", request, values)
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
            f"font-src 'self'; img-src 'self' data:; connect-src 'self' {scheme}://{host}; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return answer

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """The socket of a tab, and its process as long as it is open."""
        if len(self._open) >= self._tabs:
            raise web.HTTPServiceUnavailable(text=FULL.format(n=self._tabs))
        socket_ = web.WebSocketResponse(heartbeat=15, max_msg_size=1 << 20)
        self._open.add(socket_)
        service: TabService | None = None

        async def close() -> None:
            await socket_.close()

        try:
            socket_.headers.update(HEADERS)
            await socket_.prepare(request)
            service = TabService(
                "icemaze",
                write_bytes=socket_.send_bytes,
                write_str=socket_.send_str,
                close=close,
                download_manager=self.download_manager,
            )
            await service.start(_cells(request, "width", 80), _cells(request, "height", 24))
            # What is no message of the page's script ends the session.
            with contextlib.suppress(ValueError, LookupError, TypeError, AssertionError):
                await self._process_messages(socket_, service)
        finally:
            self._open.discard(socket_)
            if service is not None:
                await service.stop()
            await socket_.close()
        return socket_


def _cells(request: web.Request, name: str, usual: int) -> int:
    least, most = CELLS
    return min(max(to_int(request.query.get(name, ""), usual), least), most)
