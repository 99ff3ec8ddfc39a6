"""`companion flash --blank`: loader and first image onto a blank or dead board, by its ROM or by SWD."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from typing import Any

from firmware_bridge.board import Board, FirstFlash, load_board
from firmware_bridge.errors import UpdateError
from firmware_bridge.package import Firmware, build_firmware
from firmware_bridge.serial_port import SerialTransport
from firmware_bridge.signing import ImageFile, read_image
from firmware_bridge.update import BoardInfo, UpdatePort
from runtime.body import load_body
from runtime.errors import ConfigError
from tools import passport
from tools.board_finder import candidates
from tools.confirmation import ask_once
from tools.firmware import product_version
from tools.flash_trial import Say
from tools.rom_programs import (
    check_probe,
    identify,
    probe_commands,
    program,
    rom_commands,
    run_program,
)

START_S = 15.0  # for a hand at BOOT0 and reset, and for the image to start


def flash_blank(args: argparse.Namespace) -> int:
    """Build, ask the chip who it is, ask once, write, look whether it starts."""
    say, board = Say(quiet=args.json), load_board(args.board)
    first = _possible(args, board)
    firmware = build_firmware(
        board, load_body(args.body).limit_table(), product_version(), args.key
    )
    if firmware.image is None:
        raise UpdateError(f"cannot build a loader here: {firmware.lacks}")
    port = args.port or _only_port(args.via)
    with _held(port if args.via == "rom" else ""):
        uid = _chip(port, board, first, say) if args.via == "rom" else ""
        where = f"the board on {port}" if args.via == "rom" else "the board on the debug probe"
        ask_once(f"This erases all of {where} and makes it a {board.hardware}.", args.yes)
        _write(args.via, board, first, firmware, port, say)
    info = _look(port, say) if port else None
    return _tell(args, board, firmware, read_image(firmware.image), port, uid, info, say)


def _possible(args: argparse.Namespace, board: Board) -> FirstFlash:
    """ConfigError before anything is built: what was asked, what is not here."""
    if args.image is not None:
        raise ConfigError(
            f"--blank writes the loader too, so it builds both itself; leave {args.image} out "
            "and flash it afterwards with `companion flash IMAGE`"
        )
    if board.first_flash is None:
        raise ConfigError(f"--board {board.name}: its board file has no section first_flash")
    if args.via == "swd":
        check_probe(board.first_flash)
    else:
        program("stm32loader")
    return board.first_flash


def _only_port(via: str) -> str:
    ports = candidates()
    if len(ports) == 1:
        return ports[0]
    if via == "swd":
        return ""
    raise ConfigError(f"--blank needs --port: found {', '.join(ports) or 'no known USB bridge'}")


def _held(port: str) -> contextlib.AbstractContextManager[object]:
    """The port is ours while another program of ours writes through it."""
    return contextlib.closing(SerialTransport(port)) if port else contextlib.nullcontext()


def _chip(port: str, board: Board, first: FirstFlash, say: Say) -> str:
    """Its uid; UpdateError where it is another chip than the board file says."""
    say.line("hold BOOT0 high and press reset, so that the chip's ROM answers")
    chip = identify(port, first, lambda _: None)
    if chip.number != first.chip:
        raise UpdateError(
            f"wrong chip: {port} has {chip.name} (0x{chip.number:03x}), {board.name} is 0x{first.chip:03x}; "
            "nothing was erased. Name the right --board"
        )
    say.line(f"{port}: {chip.name}, {chip.flash_kib} KiB of flash, uid {chip.uid or 'unknown'}")
    return chip.uid


def _write(
    via: str, board: Board, first: FirstFlash, firmware: Firmware, port: str, say: Say
) -> None:
    rom = via == "rom"
    steps = rom_commands(board, first, firmware, port) if rom else probe_commands(first, firmware)
    for doing, command in steps:
        say.line(f"{doing} ...")
        run_program(command, doing, say.line)
    say.line("written and verified; release BOOT0 and press reset" if rom else "written")


def _look(port: str, say: Say) -> BoardInfo | None:
    """Who answers now."""
    say.line(f"looking on {port} for the new application ...")
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(UpdateError), UpdatePort(port, timeout_s=0.5) as update:
            return update.info()
        time.sleep(0.2)
    return None


def _tell(
    args: argparse.Namespace, board: Board, firmware: Firmware, image: ImageFile, port: str, uid: str,
    info: BoardInfo | None, say: Say,
) -> int:  # fmt: skip
    """Into the passport, and to the person; exit 0 when the application runs."""
    result = "written" if info is None else "confirmed" if info.application else "loader only"
    uid = info.uid if info else uid
    reason = {
        "written": "nothing answers yet: release BOOT0, press reset, then `companion flash` looks again",
        "loader only": "the loader answers and no application runs: `companion flash` puts one there",
    }.get(result, "")
    facts: dict[str, Any] = {
        "version": image.version_text, "sha256": image.sha256.hex(), "reason": reason,
        "key": image.key_hash[:8].hex(), "via": args.via, "port": port,
    }  # fmt: skip
    where = ""
    if uid:
        entry = ("blank", result, facts, args.operator)
        where = str(passport.append(uid, board.hardware, *entry))
    who = f"{board.hardware}, uid {uid or 'unknown'}: {image.version_text}"
    say.line(
        f"{who} is written, application runs" if result == "confirmed" else f"{who} is written"
    )
    say.line(f"passport: {where}" if where else "no passport yet: its uid is not known")
    if args.json:
        told = {"result": result, "reason": reason, "port": port, "uid": uid}
        told |= {"hardware": board.hardware, "after": firmware.version, "passport": where}
        print(json.dumps(told))
    elif reason:
        print(f"companion: {reason}", file=sys.stderr)
    return 0 if result == "confirmed" else 1
