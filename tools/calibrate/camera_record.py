"""`companion calibrate camera record`: guided pictures of a board, taken by themselves when they are good."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from calibration.board import parse_board
from calibration.corners import detect
from calibration.guidance import Advice, Guide
from runtime.body import load_body
from runtime.errors import ConfigError, RuntimeFault
from tools.calibrate.board_cameras import Image, LiveSource, Source, TwinSource, VideoSource
from tools.calibrate.cue import Cue, open_cue
from tools.calibrate.guidance_page import GuidancePage
from tools.calibrate.recording import Album, Recording, present
from tools.start_checks import check_device

BOARD, TWIN_BOARD = "chessboard:9x6:25mm", "chessboard:6x4:40mm"  # the twin's picture is small
DEGRADED = 3


def add_record(parser: argparse.ArgumentParser) -> None:
    """Options of record."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="where the pictures go; a recording that is there goes on")  # fmt: skip
    add("--board", default="", metavar="BOARD", help=f"what is held up (default {BOARD}; the twin's hand holds {TWIN_BOARD})")  # fmt: skip
    add("--camera", default="twin", metavar="twin|DEVICE|VIDEO", help="default: the twin, with a hand that follows the advice")  # fmt: skip
    add("--body", default="companion", help="body of the twin")
    add("--seed", type=int, default=0, help="the twin's specimen (default 0)")
    add("--port", default="", metavar="PORT", help="the robot's board: its LED ring blinks at each picture, thrice at the end")  # fmt: skip
    add("--headless", action="store_true", help="no page, only this terminal")
    add("--page", type=int, default=0, metavar="PORT", help="port of the page (default: a free one)")  # fmt: skip


def record(args: argparse.Namespace) -> int:
    """Take pictures until nothing is missing; exit 0, or 3 when it ended before."""
    if not 0 <= args.page <= 65535:
        raise ConfigError(f"--page {args.page}: give a port from 1 to 65535, 0 for a free one")
    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: give 0 or more")
    before = present(args.out)
    text = args.board or (before.board if before else TWIN_BOARD if args.camera == "twin" else BOARD)  # fmt: skip
    board = parse_board(text)
    with ExitStack() as stack:
        source = _source(args, text)
        stack.callback(source.close)
        first = source.read()
        if first is None:
            raise RuntimeFault(f"{args.camera} holds no pictures; give another camera or video")
        size = (first.shape[1], first.shape[0])
        page = None if args.headless else stack.enter_context(GuidancePage(args.page))
        guide = Guide(board, size)
        album = Album(args.out, Recording(board=str(board), serial=source.serial, camera=args.camera, body=args.body, size=size, date=""))  # fmt: skip
        for image in album.pictures():
            seen = detect(image, board)
            if seen is not None:
                guide.keep(seen)
        if page is not None:
            print(f"page: {page.url}", flush=True)
        cue = stack.enter_context(open_cue(args.port, load_body(args.body).limit_table())) if args.port else None  # fmt: skip
        ended = _followed(source, first, guide, album, page, cue)
        if cue is not None and not ended:
            cue.blink(3)
        return _told(args, guide, album, ended)


def _source(args: argparse.Namespace, board: str) -> Source:
    if args.camera == "twin":
        taken = len(list(args.out.glob("view_*.png")))
        return TwinSource(args.body, args.seed, parse_board(board), taken, not args.headless)
    if Path(args.camera).is_file():
        return VideoSource(Path(args.camera))
    check_device(args.camera)
    return LiveSource(args.camera)


def _followed(
    source: Source,
    first: Image,
    guide: Guide,
    album: Album,
    page: GuidancePage | None,
    cue: Cue | None,
) -> str:
    """Look, advise and take, until there is an end; why it ended, empty when all is there."""
    line = Line()
    image: Image | None = first
    try:
        while image is not None and not guide.done:
            seen = detect(image, guide.board)
            advice = guide.look(seen)
            if advice.take:
                album.add(image)
                if cue is not None:
                    cue.blink()
            line.show(advice, guide)
            if page is not None:
                page.show(image, seen, advice, guide)
            source.follow(advice)
            if not guide.done:
                image = source.read()
        if page is not None:
            page.linger()
    except KeyboardInterrupt:
        return "stopped"
    finally:
        line.end()
    return "" if guide.done else "the video ended"


def _told(args: argparse.Namespace, guide: Guide, album: Album, ended: str) -> int:
    """Say what there is and what to run next."""
    count, missing = len(album.files), guide.missing()
    folder = shlex.quote(str(args.out))
    if not count:
        raise RuntimeFault(f"{ended}: no picture was taken, the board was never seen whole, still and sharp; check --board {guide.board} and the light")  # fmt: skip
    still = ", ".join(n.words for n in missing[:3]) + (" ..." if len(missing) > 3 else "")
    if ended:
        print(f"{ended}: {count} views are kept in {args.out}; still missing: {still}")
        if args.camera != "twin" and Path(args.camera).is_file():
            print("to add more, record another video into another folder")
        else:
            print("the same command goes on with them")
    else:
        print(f"recorded {count} views: {args.out}" + (f"; never shown: {still}" if still else ""))
    print(f"next: companion calibrate camera solve --images {folder} --out {folder}.json --report {folder}.html")  # fmt: skip
    return DEGRADED if ended else 0


class Line:
    """The same advice in a plain terminal: one line that is renewed, with a bell at each capture."""

    def __init__(self) -> None:
        self._live, self._before, self._open = sys.stderr.isatty(), "", False

    def show(self, advice: Advice, guide: Guide) -> None:
        """On a terminal always, elsewhere when the words are others."""
        text = f"{advice.share:4.0%} {guide.views:2d} views  {advice.text}"
        if self._live:
            bell = "\a" if advice.take else ""
            print(f"\r{text:<79.79}{bell}", end="", file=sys.stderr, flush=True)
            self._open = True
        elif advice.text != self._before:
            print(text, file=sys.stderr, flush=True)
        self._before = advice.text

    def end(self) -> None:
        """Leave the line."""
        if self._open:
            print(file=sys.stderr)
