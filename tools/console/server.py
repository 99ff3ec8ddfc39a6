"""The page's server: Starlette on loopback, one WebSocket per page, latest picture only.

It holds no stop path of its own: STOP goes through the operator channel to the controller, which
latches it in the MCU; when this process dies the run goes on and wheels stop on any crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from runtime.channels import Channels
from runtime.clock import now_ns
from runtime.process import Heartbeat, StopFlag
from tools.compose import Setup
from tools.console.operator import Operator
from tools.console.view import View

PAGE = Path(__file__).parent / "page"
TICK_S = 0.05
STATE_EVERY = 2  # ticks: 10 Hz
MAX_MESSAGE = 4096
SEND_S = 0.2  # a page that takes nothing for so long is let go: the others wait for it
HOSTS = ("127.0.0.1", "localhost", "[::1]")


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: the stop flag is the process's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class Console:
    """The application's state."""

    def __init__(self, setup: Setup, channels: Channels) -> None:
        self.view = View(setup, channels)
        self.operator = Operator(channels.writer("operator", "console"), setup.skills())
        self.clients: dict[int, WebSocket] = {}
        self.ready_for: dict[int, bool] = {}  # a page that has drawn the last picture
        self._numbers = itertools.count(1)
        self._refused: dict[
            int, str
        ] = {}  # what the ticker is to tell, so that hearing never waits
        self._closing: set[asyncio.Task[None]] = set()

    def app(self) -> Starlette:
        """Routes."""
        return Starlette(
            routes=[
                Route("/api/state", self.get_state),
                Route("/api/stop", self.post_stop, methods=["POST"]),
                WebSocketRoute("/ws", self.socket),
                Mount("/", StaticFiles(directory=PAGE, html=True)),
            ]
        )

    async def get_state(self, request: Request) -> Response:
        """The page's JSON, for programs."""
        if not _same_origin(request.headers):
            return JSONResponse({"error": "another site's page may not see this"}, 403)
        return JSONResponse(self._state())

    def _state(self) -> dict[str, Any]:
        return {**self.view.state(now_ns(), len(self.clients)), "stops": self.operator.stops}

    async def post_stop(self, request: Request) -> Response:
        """STOP for anyone on this machine: `curl -X POST .../api/stop`."""
        if not _same_origin(request.headers):
            return JSONResponse({"error": "another site's page may not do this"}, 403)
        self.operator.hear(0, {"type": "stop"}, now_ns())
        self.operator.leave(0, now_ns())
        return JSONResponse({"stopped": True})

    async def socket(self, ws: WebSocket) -> None:
        """One page: its messages in; state and pictures go out from the ticker."""
        if not _same_origin(ws.headers):
            await ws.close(4403)
            return
        await ws.accept()
        client = next(self._numbers)
        self.clients[client] = ws
        self.ready_for[client] = True
        try:
            while True:
                refused = self._hear(client, await ws.receive_text())
                if refused:
                    self._refused[client] = refused
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self.clients.pop(client, None)
            self.ready_for.pop(client, None)
            self._refused.pop(client, None)
            self.operator.leave(client, now_ns())

    def _hear(self, client: int, text: str) -> str:
        if client not in self.clients:  # it was let go: what it still says is old
            return ""
        if len(text) > MAX_MESSAGE:
            return "that message is too long"
        try:
            message = json.loads(text)
            if message.get("type") == "drawn":  # a page that nobody looks at draws, too
                self.ready_for[client] = True
                return ""
            return self.operator.hear(client, message, now_ns())
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ):
            return "that message cannot be read"

    async def tick(self, number: int) -> None:
        """Send what is new to everyone; a page that is slow misses pictures, never falls behind."""
        self.view.collect()
        self.operator.publish(now_ns())
        if not self.clients:
            return
        _, pixels = self.view.pictures()
        text = ""
        if number % STATE_EVERY == 0:
            text = json.dumps({"type": "state", **self._state()})
        await asyncio.gather(*(self._send(client, ws, text, pixels) for client, ws in list(self.clients.items())))  # fmt: skip

    async def _send(self, client: int, ws: WebSocket, text: str, pixels: bytes) -> None:
        async def both() -> None:
            if refused := self._refused.pop(client, ""):
                await ws.send_text(json.dumps({"type": "refused", "text": refused}))
            if text:
                await ws.send_text(text)
            if self.ready_for.get(client):
                self.ready_for[client] = False
                await ws.send_bytes(pixels)

        try:
            await asyncio.wait_for(both(), SEND_S)
        except asyncio.TimeoutError:
            self._let_go(client, ws)
        except (RuntimeError, WebSocketDisconnect):
            pass  # it has gone: `socket` takes leave of it

    def _let_go(self, client: int, ws: WebSocket) -> None:
        """It reads no more; where it does again, it finds the connection gone and opens another."""
        self.clients.pop(client, None)
        self.operator.leave(client, now_ns())
        closing = asyncio.ensure_future(_close(ws))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(ws: WebSocket) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await ws.close(1013)


def _same_origin(headers: Any) -> bool:
    """A page of another site must not drive: Host is loopback, and Origin, if any, is the same."""
    host = headers.get("host", "")
    origin = headers.get("origin", "")
    if host.rsplit(":", 1)[0] not in HOSTS:
        return False
    return not origin or origin == f"http://{host}"


async def _main(
    console: Console, sock: socket.socket, heartbeat: Heartbeat, stop: StopFlag
) -> None:
    config = uvicorn.Config(
        console.app(), log_level="error", access_log=False, ws="websockets-sansio", lifespan="off"
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    number = 0
    while not stop.requested and not serving.done():
        await console.tick(number)
        heartbeat.step(now_ns())
        number += 1
        await asyncio.sleep(TICK_S)
    server.should_exit = True
    server.force_exit = True
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(serving, 1.0)


def serve(
    setup: Setup, channels: Channels, sock: socket.socket, heartbeat: Heartbeat, stop: StopFlag
) -> None:
    """Serve the page until asked to stop."""
    asyncio.run(_main(Console(setup, channels), sock, heartbeat, stop))
