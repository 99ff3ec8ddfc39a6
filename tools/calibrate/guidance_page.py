"""The live pages of guided recordings: a thread that serves one HTML file, a state and a picture.

It listens on this machine only; whoever stands elsewhere forwards the port (`ssh -L`).
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from calibration.corners import Detection
from calibration.guidance import CELL_CORNERS, TILTS, Advice, Guide
from calibration.lens_trust import CELLS
from runtime.camera import import_cv2
from runtime.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

Image = npt.NDArray[np.uint8]
HTML = Path(__file__).with_name("guidance.html")
STYLE, SCRIPT = HTML.with_suffix(".css"), HTML.with_suffix(".js")  # of every page
SHOWN_PX = 640  # the picture is enlarged to this width
LINGER_S = 1.5  # so that a page that polls sees the end
GREEN = (75, 190, 60)


class LivePage:
    """Serve from `with` to its end; `publish` swaps what is served."""

    def __init__(self, port: int, html: Path) -> None:
        self._html = html
        self._state: dict[str, Any] = {}
        self.polled = False  # a page is open
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        except OSError as error:
            raise ConfigError(f"--page {port}: the port cannot be had ({error.strerror}); give another, or 0 for a free one") from error  # fmt: skip
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def publish(self, state: dict[str, Any]) -> None:
        """What the page asks for from now on."""
        self._state = state

    def linger(self) -> None:
        """Wait until a page that is open has seen the end."""
        if self.polled:
            time.sleep(LINGER_S)

    def html(self) -> bytes:
        """The page itself."""
        return self._html.read_bytes()

    def state(self) -> bytes:
        """JSON of the latest state."""
        self.polled = True
        return json.dumps(self._state).encode()

    def picture(self) -> bytes:
        """JPEG; empty where the page has none."""
        return b""


class GuidancePage(LivePage):
    """The camera's: the newest picture with what was found in it."""

    def __init__(self, port: int) -> None:
        super().__init__(port, HTML)
        self._looked: tuple[Image, Detection | None] | None = None

    def show(self, image: Image, seen: Detection | None, advice: Advice, guide: Guide) -> None:
        """The newest picture, (H, W) or (H, W, 3) BGR, and what was said of it."""
        need = advice.need
        state = {
            "text": advice.text,
            "done": advice.done,
            "share": round(advice.share, 4),
            "views": guide.views,
            "wanted": guide.wanted_views,
            "board": str(guide.board),
            "size": list(guide.size),
            "seen": seen is not None,
            "cells": (guide.counts.ravel() >= CELL_CORNERS).tolist(),
            "columns": CELLS,
            "cell": need.index if need is not None and need.kind == "cell" else -1,
            "tilts": {name: int(n) for name, n in zip(TILTS, guide.tilts, strict=True)},
        }
        self._looked = image, seen
        self.publish(state)

    def picture(self) -> bytes:
        """JPEG of the latest picture with the corners found in it; empty before the first."""
        return b"" if self._looked is None else _drawn(*self._looked)


def _drawn(image: Image, seen: Detection | None) -> bytes:
    cv2 = import_cv2()
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    scale = SHOWN_PX / image.shape[1]
    size = (SHOWN_PX, max(1, round(image.shape[0] * scale)))
    shown = cv2.resize(colour, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for x, y in (seen.pixels + 0.5) * scale if seen is not None else ():
        cv2.circle(shown, (round(float(x)), round(float(y))), 5, GREEN, 2, cv2.LINE_AA)
    _, jpeg = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return bytes(jpeg.tobytes())


def _handler(page: LivePage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served = {
                "/": ("text/html; charset=utf-8", page.html),
                "/guidance.css": ("text/css", STYLE.read_bytes),
                "/guidance.js": ("text/javascript", SCRIPT.read_bytes),
                "/state.json": ("application/json", page.state),
                "/picture.jpg": ("image/jpeg", page.picture),
            }.get(self.path.split("?")[0])
            if served is None:
                self.send_error(404)
                return
            content = served[1]()
            self.send_response(200)
            self.send_header("Content-Type", served[0])
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, form: str, *args: object) -> None:
            """The terminal is for the advice."""

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:  # the browser has left
                return

    return Handler
