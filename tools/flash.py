"""`companion flash`: find the board, say what will happen, upload, trial, confirm; or roll back."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_bridge import protocol
from firmware_bridge.board import Board, board_names, load_board
from firmware_bridge.errors import UpdateError
from firmware_bridge.limits import LimitTable
from firmware_bridge.package import build_firmware
from firmware_bridge.signing import DEVELOPMENT_KEY, ImageFile, read_image
from firmware_bridge.update import BoardInfo, SlotImage, UpdatePort
from runtime.body import load_body
from tools import passport
from tools.board_finder import find_board
from tools.confirmation import answer
from tools.firmware import product_version
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: up to date, confirmed or rolled back."""

    result: str
    reason: str
    port: str
    info: BoardInfo
    before: str
    after: str
    passport: str = ""

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "result": self.result, "reason": self.reason, "port": self.port, "uid": self.info.uid,
            "hardware": self.info.hardware, "before": self.before, "after": self.after,
            "passport": self.passport,
        }  # fmt: skip


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
    image = read_image(path) if path else _built(info, table, key, say)
    with UpdatePort(port) as board:
        before = _active(board.images())
        say.line(f"{port}: {info.hardware}, uid {info.uid}, {_runs(info, before)}")
        _check(info, image, before, force)
        if before and before.sha256 == image.sha256 and info.application:
            say.line(f"already up to date: {image.version_text} runs, nothing to do")
            return Outcome("up to date", "", port, info, before.version, before.version)
        say.line(
            f"will put {image.version_text} ({image.sha256[:4].hex()}) into the other slot, try it, "
            "and go back unless it proves healthy"
        )
        try:
            _put(board, image, force, say)
        except UpdateError as error:
            _enter(info, image, before, "refused", str(error), port, operator)
            raise
    result, reason = watch_trial(port, table, say)
    with UpdatePort(port) as board:
        after = _active(board.images())
        last = board.info()
    if result == "confirmed" and (after is None or after.sha256 != image.sha256):
        result, reason = "rolled back", last.refused or "it did not start"
    where = _enter(info, image, before, result, reason, port, operator)
    now = after.version if after else "nothing"
    say.line(f"{result}: {now} runs" + (f" ({reason})" if reason else ""))
    say.line(f"passport: {where}\nlabel:    {where.with_suffix('.html')}")
    return Outcome(result, reason, port, last, before.version if before else "", now, str(where))


def _enter(
    info: BoardInfo, image: ImageFile, before: SlotImage | None, result: str, reason: str,
    port: str, operator: str,
) -> Path:  # fmt: skip
    """Into the passport, however it ended."""
    facts = {
        "version": image.version_text, "sha256": image.sha256.hex(),
        "key": image.key_hash[:8].hex(), "before": before.version if before else "",
        "reason": reason, "schema": f"{protocol.schema_crc():08x}", "port": port,
    }  # fmt: skip
    return passport.append(info.uid, info.hardware, "flash", result, facts, operator)


def _built(info: BoardInfo, table: LimitTable, key: Path, say: Say) -> ImageFile:
    """Without an image: build the one that belongs to this host and that board."""
    boards = [b for b in _boards() if b.hardware == info.hardware]
    if not boards:
        raise UpdateError(
            f"no board file for {info.hardware}; give an IMAGE, or add one (docs/porting.md)"
        )
    say.line(f"building for {boards[0].name} ...")
    done = build_firmware(boards[0], table, product_version(), key)
    if done.image is None:
        raise UpdateError(f"cannot build an image here: {done.lacks}; give an IMAGE")
    return read_image(done.image)


def _boards() -> list[Board]:
    return [load_board(name) for name in board_names()]


def _active(images: list[SlotImage]) -> SlotImage | None:
    return next((i for i in images if i.active), None)


def _runs(info: BoardInfo, active: SlotImage | None) -> str:
    if not info.application:
        return "its loader answers, no application runs"
    return (
        f"runs {active.version} ({active.sha256[:4].hex()})" if active else "runs an unknown image"
    )


def _check(info: BoardInfo, image: ImageFile, before: SlotImage | None, force: bool) -> None:
    """Everything that can be refused before the first byte."""
    if image.hardware != info.hardware:
        raise UpdateError(
            f"wrong hardware: {image.path.name} is for {image.hardware}, this board is {info.hardware}; take the image for that board"
        )
    if info.driving:
        raise UpdateError("the robot is active: its motors may move; stop it, then flash")
    if info.trial:
        raise UpdateError(
            "the image that runs is on trial; wait until it is confirmed or goes back (30 s), then flash"
        )
    size = next(
        (b.nvm.slot_size for b in _boards() if b.hardware == info.hardware), len(image.data)
    )
    if len(image.data) > size:
        raise UpdateError(f"{image.path.name} has {len(image.data)} bytes, a slot {size}")
    if before and not force and image.version < _numbers(before.version):
        raise UpdateError(
            f"downgrade: {image.version_text} is older than {before.version}, which runs; give --force if that is meant"
        )


def _numbers(version: str) -> tuple[int, int, int, int]:
    parts = [int(p) for p in version.split(".")] + [0, 0, 0, 0]
    return parts[0], parts[1], parts[2], parts[3]


def _put(board: UpdatePort, image: ImageFile, force: bool, say: Say) -> None:
    if not any(i.sha256 == image.sha256 for i in board.images()):
        say.progress(0, len(image.data))
        board.upload(image.data, lambda done: say.progress(done, len(image.data)))
    board.test(image.sha256, force)
    say.line("the board has checked hash, key and hardware; restarting into the new image")
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
