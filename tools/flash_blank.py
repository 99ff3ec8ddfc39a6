"""`companion flash --blank`: loader and first image onto a blank or dead board, by ROM or by SWD.

stm32loader (a program of its own, GPL, run and never imported) speaks the ROM's protocol; pyocd drives
a debug probe. Both are installed by whoever needs them.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from firmware_bridge.board import Board, load_board
from firmware_bridge.errors import UpdateError
from firmware_bridge.package import Firmware, build_firmware
from firmware_bridge.update import UpdatePort
from runtime.body import load_body
from runtime.errors import ConfigError
from tools import passport
from tools.board_finder import candidates
from tools.firmware import product_version

ROM_BAUD = 115_200
START_S = 8.0


def flash_blank(args: argparse.Namespace) -> int:
    """Build, ask once, write, look whether it starts."""
    from tools.flash import ask_once

    board = load_board(args.board)
    _have("stm32loader" if args.via == "rom" else "pyocd")
    port = args.port or _only_port()
    firmware = build_firmware(
        board, load_body(args.body).limit_table(), product_version(), args.key
    )
    if firmware.loader is None or firmware.image is None or firmware.factory is None:
        raise UpdateError(f"cannot build a loader here: {firmware.lacks}")
    where = f"the board on {port}" if args.via == "rom" else "the board on the debug probe"
    if args.via == "rom":
        print("hold BOOT0 high and press reset, so that the chip's ROM answers")
    ask_once(f"This erases all of {where} and makes it a {board.hardware}.", args.yes)
    for command in commands(board, firmware, port, args.via):
        print("+", " ".join(command[2:]), flush=True)
        result = subprocess.run(command, check=False)
        if result.returncode:
            raise UpdateError(
                f"{command[2]} ended with code {result.returncode}; check wiring and power, then run it again: a half-written board is still blank"
            )
    print("release BOOT0 and press reset")
    return _look(port, board, firmware, args.operator)


def commands(board: Board, firmware: Firmware, port: str, via: str) -> list[list[str]]:
    """What is run, in order."""
    assert firmware.loader and firmware.image and firmware.factory
    if via == "swd":
        return [
            [
                sys.executable,
                "-m",
                "pyocd",
                "load",
                "--target",
                "stm32f405rg",
                "--erase",
                "chip",
                str(firmware.factory),
            ]
        ]
    tool = [
        sys.executable,
        "-m",
        "stm32loader",
        "--port",
        port,
        "--baud",
        str(ROM_BAUD),
        "--family",
        "F4",
    ]
    image_at = board.nvm.base + board.nvm.slots[0]
    return [
        [
            *tool,
            "--erase",
            "--write",
            "--verify",
            "--address",
            hex(board.memory.boot_flash[0]),
            str(firmware.loader),
        ],
        [*tool, "--write", "--verify", "--address", hex(image_at), str(firmware.image)],
    ]


def _have(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise ConfigError(f"{module} is not installed; `pip install {module}`, then run this again")


def _only_port() -> str:
    ports = candidates()
    if len(ports) != 1:
        raise ConfigError(
            f"--blank needs --port: found {', '.join(ports) or 'no known USB bridge'}"
        )
    return ports[0]


def _look(port: str, board: Board, firmware: Firmware, operator: str) -> int:
    """Whether the new loader or application answers; its passport begins here."""
    assert firmware.image
    try:
        with UpdatePort(port, timeout_s=START_S) as update:
            info = update.info()
    except UpdateError as error:
        print(f"written and verified, but nothing answers yet: {error}")
        print(
            "release BOOT0, press reset, then `companion flash` looks again and begins the passport"
        )
        return 1
    where = passport.append(
        info.uid, board.hardware, "blank", "confirmed" if info.application else "loader only",
        {"version": firmware.version, "port": port, "image": Path(firmware.image).name}, operator,
    )  # fmt: skip
    print(
        f"{info.hardware}, uid {info.uid}: {'application runs' if info.application else 'loader answers'}\npassport: {where}"
    )
    return 0 if info.application else 1


__all__: Sequence[str] = ("commands", "flash_blank")
