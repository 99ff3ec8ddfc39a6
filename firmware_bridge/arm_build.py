"""ARM images: loader and application of a board, by arm-none-eabi-gcc or, without it, the zig wheel.

A build folder holds `loader.elf`, `application.elf` and what `signing.py` adds. Same core as the host
builds; the start-up, the linker script and the port come from the board file.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.board import Board, board_names, check_body, load_board
from firmware_bridge.board_header import board_header, linker_script
from firmware_bridge.build import SOURCES, LibrarySource, Target, build
from firmware_bridge.errors import BoardError, BuildError
from firmware_bridge.header import limits_header, protocol_header
from firmware_bridge.limits import LimitTable
from firmware_bridge.native import CORE
from firmware_bridge.signing import PublicKey
from firmware_bridge.sources import library_source

ARM_FLAGS = (
    "-Os", "-g", "-ffreestanding", "-ffunction-sections", "-fdata-sections",
    "-fno-common", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
)  # fmt: skip
PORTS = {
    "mps2": ("mcu/port_mps2.c",),
    "stm32f405": ("mcu/port_stm32f405.c", "mcu/stm32_body.c", "mcu/stm32_motors.c"),
}
MCU = ("mcu/start.c", "mcu/serial.c")
UPDATE = ("boot/smp.c", "boot/slots.c", "boot/image.c", "boot/signature.c")


@dataclass(frozen=True, slots=True)
class ArmImages:
    """What was built; `loader` is None where a library's source could not be had (`lacks` says it)."""

    application: Path
    loader: Path | None
    lacks: str = ""


def arm_compilers() -> tuple[tuple[str, ...], ...]:
    """Commands to try in order."""
    found: list[tuple[str, ...]] = []
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc:
        found.append(("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft"))
    if importlib.util.find_spec("ziglang"):
        zig = (sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi")
        found.append((*zig, "-mcpu=cortex_m4", "-fno-sanitize=all"))
    return tuple(found)


def build_arm(board: Board, table: LimitTable, key: PublicKey) -> ArmImages:
    """Loader and application for a board and a body; BuildError says what is missing."""
    check_body(board, table)
    _check_alone(board)
    commands = arm_compilers()
    if not commands:
        raise BuildError(
            f"cannot build for {board.name}: found neither arm-none-eabi-gcc nor the ziglang wheel; "
            "install one: `pip install ziglang`"
        )
    headers = {
        "protocol_gen.h": protocol_header(),
        "board_gen.h": board_header(board),
        "key_gen.h": key.header(),
        "limits_gen.h": limits_header(table),
    }
    try:
        libraries = (library_source("libsodium"), library_source("zcbor"))
    except BuildError as error:
        bare = _application(board, headers, commands, ())
        return ArmImages(bare, None, str(error))
    return ArmImages(
        _application(board, headers, commands, libraries),
        _image(board, "loader", ("mcu/loader.c", "codec.c"), headers, commands, libraries),
    )


def _check_alone(board: Board) -> None:
    """A port for its chip, and an id that no other board has: it is what `companion flash` goes by."""
    if board.mcu not in PORTS:
        raise BoardError(
            f"board {board.name}: no port for the chip {board.mcu}, there are {', '.join(PORTS)}; "
            "docs/porting.md says how to add one"
        )
    others = [b for b in map(load_board, board_names()) if b.name != board.name]
    twin = next((b for b in others if b.hardware == board.hardware), None)
    if twin is not None:
        raise BoardError(
            f"board {board.name}: {twin.name} has the hardware id {board.hardware} too; give it one of its own"
        )


def _application(
    board: Board,
    headers: dict[str, str],
    commands: tuple[tuple[str, ...], ...],
    libraries: tuple[LibrarySource, ...],
) -> Path:
    return _image(board, "application", ("mcu/app.c", *CORE), headers, commands, libraries)


def _image(
    board: Board,
    name: str,
    sources: tuple[str, ...],
    headers: dict[str, str],
    commands: tuple[tuple[str, ...], ...],
    libraries: tuple[LibrarySource, ...],
) -> Path:
    """One ELF file; an application without the libraries has no update server, and says so."""
    memory = board.memory
    loader = name == "loader"
    script = linker_script(
        memory.boot_flash if loader else memory.app_exec,
        memory.boot_ram if loader else memory.app_ram,
    )
    flags = (
        *ARM_FLAGS, *(() if libraries else ("-DWITHOUT_UPDATE",)),
        f"-I{SOURCES / 'mcu'}", f"-I{SOURCES / 'boot'}",
        f"-I{SOURCES / 'mcu' / 'libc'}", f"-I{SOURCES / 'boot' / 'libsodium'}",
    )  # fmt: skip
    update = UPDATE if libraries else ()
    paths = []
    complaints = []
    for command in commands:
        gcc = command[0].endswith("gcc")
        target = Target(
            name=f"{name}.elf",
            sources=(*sources, *update, *MCU, *PORTS[board.mcu]),
            flags=flags,
            headers={**headers, "link.ld": script},
            libraries=libraries,
            commands=(command,),
            last=(
                "-Wl,--gc-sections",
                "-T",
                "@FOLDER@/link.ld",
                *(("-nostdlib", "-lgcc") if gcc else ()),
            ),
        )
        try:
            paths.append(build(target))
            break
        except BuildError as error:
            complaints.append(str(error))
    if not paths:
        raise BuildError("\n".join(complaints))
    return paths[0]
