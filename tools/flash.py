"""`companion flash`: find the board, say what will happen, upload, trial, confirm; or roll back."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from firmware_bridge.board import board_names, load_board
from firmware_bridge.errors import UpdateError
from firmware_bridge.limits import LimitTable
from firmware_bridge.package import build_firmware
from firmware_bridge.signing import DEVELOPMENT_KEY, ImageFile, read_image
from firmware_bridge.update import BoardInfo, UpdatePort
from runtime.body import load_body
from tools import passport
from tools.board_finder import find_board
from tools.confirmation import answer
from tools.firmware import product_version
from tools.flash_attempt import Attempt, Outcome, active, boards, check, runs
from tools.flash_trial import Say, watch_trial


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument(
        "image",
        type=Path,
        nargs="?",
        metavar="IMAGE",
        help="signed image (default: built now, for the board that is found)",
    )
    parser.add_argument("--port", default="", help="serial port (default: found by itself)")
    parser.add_argument("--body", default="companion", help="body the image is for")
    parser.add_argument(
        "--key",
        type=Path,
        default=DEVELOPMENT_KEY,
        metavar="PEM",
        help="without IMAGE, and with --blank: the key to build and sign with (default: the public development key)",
    )
    parser.add_argument("--force", action="store_true", help="also take an older version")
    parser.add_argument(
        "--blank",
        action="store_true",
        help="a blank or dead board: write loader and image through its ROM or SWD",
    )
    parser.add_argument(
        "--board",
        choices=[b for b in board_names() if not load_board(b).emulated],
        default="stm32f405",
        help="with --blank: which board it is",
    )
    parser.add_argument(
        "--via",
        choices=("rom", "swd"),
        default="rom",
        help="with --blank: the ROM's serial loader, or a debug probe (default: rom)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--operator",
        default="",
        metavar="NAME",
        help="who stands in the passport (default: login name)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def main(args: argparse.Namespace) -> int:
    """Flash; exit 0 when the board runs the image, 1 when it does not."""
    if args.blank:
        from tools.flash_blank import flash_blank

        return flash_blank(args)
    say = Say(quiet=args.json)
    table = load_body(args.body).limit_table()
    done = flash(args.port, args.image, table, args.key, args.force, args.operator, say)
    if args.json:
        print(json.dumps(done.to_json()))
    return 0 if done.result in ("confirmed", "up to date") else 1


def flash(
    port: str, path: Path | None, table: LimitTable, key: Path, force: bool, operator: str, say: Say
) -> Outcome:
    """The whole way; UpdateError or LinkError when it is refused or comes to a halt."""
    port, info = find_board(port)
    passport.check(info.uid)
    image = read_image(path) if path else _built(info, table, key, say)
    with UpdatePort(port) as board:
        before = active(board.images())
        say.line(f"{port}: {info.hardware}, uid {info.uid}, {runs(info, before)}")
        same = before is not None and before.sha256 == image.sha256
        check(info, image, before, force, same)
        attempt = Attempt(info, image, before, port, operator)
        if same and info.application and not info.trial:
            say.line(f"already up to date: {image.version_text} runs, nothing to do")
            return attempt.ended("up to date", "", image.version_text, attempt.found())
        with attempt.told(say):
            if same and info.trial:
                say.line(f"{image.version_text} is on trial already: going on with it")
            else:
                _put(board, image, force, say, attempt)
    with attempt.told(say):
        attempt.restarted = True
        result, reason = watch_trial(port, table, say)
        with UpdatePort(port) as board:
            after, last = active(board.images()), board.info()
    if result == "confirmed" and (after is None or after.sha256 != image.sha256):
        result, reason = "rolled back", last.refused or "it did not start"
    now = after.version if after else "nothing"
    say.line(f"{result}: {now} runs" + (f" ({reason})" if reason else ""))
    where = attempt.enter(result, reason)
    say.line(f"passport: {where}\nlabel:    {where.with_suffix('.html')}")
    return attempt.ended(result, reason, now, str(where))


def _built(info: BoardInfo, table: LimitTable, key: Path, say: Say) -> ImageFile:
    """Without an image: build the one that belongs to this host and that board."""
    known = [b for b in boards() if b.hardware == info.hardware]
    if not known:
        raise UpdateError(
            f"no board file for {info.hardware}; give an IMAGE, or add one (docs/porting.md)"
        )
    say.line(f"building for {known[0].name} ...")
    done = build_firmware(known[0], table, product_version(), key)
    if done.image is None:
        raise UpdateError(f"cannot build an image here: {done.lacks}; give an IMAGE")
    return read_image(done.image)


def _put(board: UpdatePort, image: ImageFile, force: bool, say: Say, attempt: Attempt) -> None:
    """Upload what is not there yet, have it checked, restart into it."""
    there = any(i.sha256 == image.sha256 for i in board.images())
    name = f"{image.version_text} ({image.sha256[:4].hex()})"
    way = f"{name} is in a slot already: will" if there else f"will put {name} into the other slot,"
    say.line(f"{way} try it, and go back unless it proves healthy")
    if not there:
        size = len(image.data)
        say.progress(0, size)
        board.upload(
            image.data,
            lambda done: say.progress(done, size),
            lambda: say.line("the link broke; trying again ..."),
        )
    board.test(image.sha256, force)
    say.line("the board has checked hash, key and hardware; restarting into the new image")
    attempt.restarted = True
    board.reset()


def offer(table: LimitTable, port: str, reason: str) -> bool:
    """At a terminal, offer the flash that would mend a mismatch; True when it is mended."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    print(reason)
    if answer("flash the firmware that matches this host now? [y/N] ") not in ("y", "yes"):
        return False
    return flash(port, None, table, DEVELOPMENT_KEY, False, "", Say()).result in (
        "confirmed",
        "up to date",
    )
