"""The programs that write a blank chip: stm32loader through its ROM, pyocd through a debug probe.

Both are programs of their own (stm32loader is GPL): run, never imported. What they say is passed on line
by line; how they fail becomes one sentence, for a bare one shows its traceback.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.board import Board, FirstFlash
from firmware_bridge.errors import UpdateError
from firmware_bridge.package import Firmware
from runtime.errors import ConfigError
from runtime.process import die_with_parent

ROM_BAUD = 115_200
UNTOUCHED = "nothing was erased"
HALF = "a half-written board starts nothing and takes it again"
NOISE = (
    "Activating",
    "Bootloader",
    "Chip id",
    "Device UID",
    "Flash size",
)  # of stm32loader: known by then
ADVICE = {  # what stm32loader or pyocd says: what it means and what to do
    "Can't init into bootloader": "it does not answer: hold BOOT0 high, press reset, check TX and RX",
    "Erase failed": "the ROM did not erase: press reset; if it stays so, the chip is read-protected and "
    "`stm32loader --unprotect` lifts that",
    "No connected debug probes": "no debug probe is plugged in",
    "No target device available": "no debug probe is plugged in, or its board has no power",
}
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chip:
    """What the ROM says of its chip."""

    number: int
    name: str
    uid: str  # as the firmware tells it: hex, lowest address first
    flash_kib: int


def program(name: str) -> list[str]:
    """How to run it: from this environment, else from PATH; ConfigError says how to get it."""
    if importlib.util.find_spec(name) is not None:
        return [sys.executable, "-m", name]
    found = shutil.which(name)
    if found is None:
        raise ConfigError(
            f"--blank needs the program {name}, which is not installed; `pip install {name}`, then run this again"
        )
    return [found]


def run_program(command: list[str], doing: str, tell: Tell, left: str = HALF) -> list[str]:
    """Run it and pass on what it says; UpdateError in one sentence when it fails."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", preexec_fn=die_with_parent,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        with process:
            said = _passed_on(process, tell)
        code = process.returncode
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise UpdateError(f"{doing} was stopped by Ctrl-C; run it again: {left}") from None
    if code:
        raise UpdateError(f"{doing} failed: {_why(said, code)}; then run it again ({left})")
    return said


def _passed_on(process: subprocess.Popen[str], tell: Tell) -> list[str]:
    """Its lines; a traceback is kept and not shown."""
    said, quiet = [], False
    assert process.stdout is not None
    for line in process.stdout:
        said += [line.strip()] if line.strip() else []
        quiet = quiet or line.startswith("Traceback")
        if line.strip() and not quiet and not line.startswith(NOISE):
            tell(f"  {line.rstrip()}")
    return said


def _why(said: list[str], code: int) -> str:
    """Its last words, or what we know of them."""
    for line in said:
        for words, advice in ADVICE.items():
            if words in line:
                return advice
    last = said[-1].rpartition("CommandError: ")[2] if said else f"exit code {code}"
    return f"{last[:120]}; check wiring and power, hold BOOT0 high, press reset"


def identify(port: str, first: FirstFlash, tell: Tell) -> Chip:
    """Ask the ROM which chip it stands in; writes nothing."""
    said = "\n".join(run_program(_rom(port, first), "asking the chip's ROM", tell, UNTOUCHED))
    number = re.search(r"Chip id: 0x([0-9A-Fa-f]+) \((.*)\)", said)
    uid = re.search(r"Device UID: ([0-9A-F-]+)", said)
    size = re.search(r"Flash size: (\d+) KiB", said)
    return Chip(
        int(number.group(1), 16) if number else 0,
        number.group(2) if number else "unknown",
        _plain_uid(uid.group(1)) if uid else "",
        int(size.group(1)) if size else 0,
    )


def _plain_uid(text: str) -> str:
    """stm32loader prints the uid's words most significant byte first."""
    try:
        return "".join(bytes.fromhex(part)[::-1].hex() for part in text.split("-"))
    except ValueError:
        return ""


def _rom(port: str, first: FirstFlash) -> list[str]:
    tool = program("stm32loader")
    return [*tool, "--port", port, "--baud", str(ROM_BAUD), "--family", first.family]


def rom_commands(
    board: Board, first: FirstFlash, firmware: Firmware, port: str
) -> list[tuple[str, list[str]]]:
    """What is done, and the command that does it: all erased, the loader, the image."""
    assert firmware.loader and firmware.image
    tool = _rom(port, first)
    image_at = board.nvm.base + board.nvm.slots[0]
    loader_at = board.memory.boot_flash[0]
    return [
        (
            "erasing the chip and writing the loader",
            [*tool, "--erase", *_put(firmware.loader, loader_at)],
        ),
        ("writing the image", [*tool, *_put(firmware.image, image_at)]),
    ]


def _put(path: Path, address: int) -> list[str]:
    return ["--write", "--verify", "--address", hex(address), str(path)]


def probe_commands(first: FirstFlash, firmware: Firmware) -> list[tuple[str, list[str]]]:
    """The same through a debug probe, which takes both in one file."""
    assert firmware.factory
    load = ["load", "--no-wait", "--no-config", "--target", first.probe, "--erase", "chip"]
    doing = "erasing the chip and writing loader and image"
    return [(doing, [*program("pyocd"), *load, str(firmware.factory)])]


def check_probe(first: FirstFlash) -> None:
    """ConfigError where pyocd does not know the chip: most are in packs that are fetched once."""
    known = subprocess.run(
        [*program("pyocd"), "list", "--targets", "--no-header", "--name", first.probe],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if first.probe not in known.stdout.lower():
        raise ConfigError(
            f"pyocd does not know the chip {first.probe} yet: its pack is missing; "
            f"`pyocd pack install {first.probe}` fetches it once, then run this again"
        )
