"""The twin's board in QEMU: image built, flash written as a factory does, memory in the run's folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.board import load_board
from firmware_bridge.errors import BuildError
from firmware_bridge.limits import LimitTable
from firmware_bridge.package import build_firmware
from firmware_bridge.plant import Plant
from firmware_bridge.qemu import PLANT_OFFSET, EmulatedMemory, QemuFirmware, qemu_program
from firmware_bridge.signing import DEVELOPMENT_KEY
from tools.firmware import product_version

BOARD = "mps2"


@dataclass(frozen=True, slots=True)
class EmulatedBoard:
    """A board ready for power."""

    memory: EmulatedMemory
    loader: Path

    def start(self) -> QemuFirmware:
        """Power on."""
        return QemuFirmware(self.loader, self.memory)

    def plant(self) -> Plant:
        """Where its firmware and a body meet; `.fd` may be inherited, at PLANT_OFFSET."""
        return Plant.attach(os.open(self.memory.path, os.O_RDWR), PLANT_OFFSET)


def emulated_board(folder: Path, table: LimitTable, uid: str = "qemu-twin") -> EmulatedBoard:
    """Build this host's firmware and a board that holds it; LinkError or BuildError says what is missing."""
    qemu_program()
    board = load_board(BOARD)
    firmware = build_firmware(board, table, product_version(), DEVELOPMENT_KEY)
    if firmware.loader is None or firmware.image is None:
        raise BuildError(f"--firmware qemu needs loader and image: {firmware.lacks}")
    memory = EmulatedMemory.create(folder / "board.bin", board, uid.encode())
    memory.write_slot(0, firmware.image.read_bytes())
    return EmulatedBoard(memory, firmware.loader)
