"""What a build gives to people: loader, signed image, and one factory file for a blank board.

They stand in `build/firmware/BOARD/VERSION-KEY/`, each renamed into place whole.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.arm_build import build_arm
from firmware_bridge.board import Board
from firmware_bridge.build import build_root
from firmware_bridge.errors import BuildError, ImageError
from firmware_bridge.limits import LimitTable
from firmware_bridge.signing import check_version, load_key, read_image, sign


@dataclass(frozen=True, slots=True)
class Firmware:
    """One board's files; without a loader (`lacks` says why) there is only the unsigned program."""

    board: Board
    version: str
    program: Path
    image: Path | None
    loader: Path | None
    factory: Path | None
    lacks: str = ""


def flat_program(elf: Path) -> bytes:
    """The bytes of an ELF file's loadable segments, gaps filled with ones as erased flash has them."""
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as file:
        segments = [
            (int(s["p_paddr"]), s.data())
            for s in ELFFile(file).iter_segments()
            if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        ]
    start = min(address for address, _ in segments)
    out = bytearray(b"\xff" * (max(a + len(d) for a, d in segments) - start))
    for address, data in segments:
        out[address - start : address - start + len(data)] = data
    return bytes(out)


def build_firmware(board: Board, table: LimitTable, version: str, key: Path) -> Firmware:
    """Build and sign for a board; ImageError or BuildError says what is wrong or missing."""
    check_version(version)
    public = load_key(key)
    built = build_arm(board, table, public)
    folder = build_root().parent / "firmware" / board.name / f"{version}-{public.fingerprint[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    program = _put(folder / "application.bin", flat_program(built.application))
    if built.loader is None:
        return Firmware(board, version, program, None, None, None, built.lacks)
    loader = _put(folder / "loader.bin", flat_program(built.loader))
    image = folder / f"companion-{board.name}-{version}.bin"
    sign(program.read_bytes(), board, version, key, image)
    if read_image(image).hardware != board.hardware:
        raise ImageError(f"image {image}: its hardware id is not {board.hardware}; build again")
    factory = _factory(board, loader.read_bytes(), image.read_bytes())
    return Firmware(board, version, program, image, loader, _put(folder / "factory.hex", factory))


def _put(path: Path, data: bytes) -> Path:
    part = path.with_suffix(f".{os.getpid()}")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return path


def _factory(board: Board, loader: bytes, image: bytes) -> bytes:
    """Loader and first image as one Intel HEX file, for SWD or the chip's ROM loader."""
    from intelhex import IntelHex

    base, size = board.memory.boot_flash
    if len(loader) > size:
        raise BuildError(f"loader: {len(loader)} bytes, {board.name} has {size} for it")
    out = IntelHex()
    out.puts(base, loader)
    out.puts(board.nvm.base + board.nvm.slots[0], image)
    text = io.StringIO()
    out.write_hex_file(text)
    return text.getvalue().encode()
