"""A board in QEMU: the ARM images on an emulated Cortex-M4, its memory a file that outlives it.

`-M mps2-an386`: loader at 0, slots and plant in the file-backed PSRAM. The pty's slave end is held
open, for QEMU loses bytes of a pty that is opened anew (measured).
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import threading
from pathlib import Path

from firmware_bridge.board import Board
from firmware_bridge.errors import LinkError
from firmware_bridge.firmware_process import FirmwareProcess
from firmware_bridge.plant import Plant

PSRAM_BASE = 0x2100_0000
MEMORY_SIZE = 16 << 20
PLANT_OFFSET = 0xF00000
START_LOOKS = 100  # of 0.2 s each at most
PR_SET_PDEATHSIG = 1


def qemu_program() -> str:
    """Path of the emulator; LinkError says how to get it."""
    found = shutil.which("qemu-system-arm")
    if found is None:
        raise LinkError(
            "no qemu-system-arm on this machine; install it (Debian: qemu-system-arm), "
            "or use --firmware host"
        )
    return found


class EmulatedMemory:
    """The PSRAM's file: flash slots, boot records, the chip's uid, the plant."""

    def __init__(self, path: Path, board: Board) -> None:
        self.path, self.board = path, board
        self.base = board.nvm.base - PSRAM_BASE

    @classmethod
    def create(cls, path: Path, board: Board, uid: bytes = b"qemu-board-1") -> EmulatedMemory:
        """A blank board: flash erased, uid burnt in."""
        memory = cls(path, board)
        with path.open("wb") as file:
            file.truncate(MEMORY_SIZE)
            for offset, size in memory._flash():
                file.seek(offset)
                file.write(b"\xff" * size)
            file.seek(board.memory.uid - PSRAM_BASE)
            file.write(uid.ljust(12, b"\0")[:12])
        return memory

    def _flash(self) -> list[tuple[int, int]]:
        nvm = self.board.nvm
        slots = [(self.base + o, nvm.slot_size) for o in nvm.slots]
        return slots + [(self.base + o, nvm.sector) for o in nvm.records]

    def write_slot(self, slot: int, data: bytes) -> None:
        """Put bytes into a slot, as a factory does; the rest of it is erased."""
        with self.path.open("r+b") as file:
            file.seek(self.base + self.board.nvm.slots[slot])
            file.write(data.ljust(self.board.nvm.slot_size, b"\xff"))

    def read_slot(self, slot: int) -> bytes:
        """A slot's bytes."""
        with self.path.open("rb") as file:
            file.seek(self.base + self.board.nvm.slots[slot])
            return file.read(self.board.nvm.slot_size)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class QemuFirmware(FirmwareProcess):
    """A running emulator; `port` is its serial port."""

    def __init__(self, loader: Path, memory: EmulatedMemory) -> None:
        self.memory = memory
        backend = f"memory-backend-file,id=nv,size={MEMORY_SIZE},mem-path={memory.path},share=on"
        self.process = subprocess.Popen(
            [qemu_program(), "-object", backend, "-M", "mps2-an386,memory-backend=nv",
             "-kernel", str(loader), "-display", "none", "-monitor", "none", "-serial", "pty"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent, start_new_session=True,  # Ctrl-C is its owner's to act on
        )  # fmt: skip
        self.port = self._read_port()
        self._hold = os.open(self.port, os.O_RDWR | os.O_NOCTTY)

    def _read_port(self) -> str:
        assert self.process.stdout is not None
        said, fd = b"", self.process.stdout.fileno()
        for _ in range(START_LOOKS):
            ready, _, _ = select.select([fd], [], [], 0.2)
            chunk = os.read(fd, 4096) if ready else b""
            said += chunk
            found = re.search(rb"redirected to (/dev/\S+)", said)
            if found:
                threading.Thread(target=self._drain, args=(fd,), daemon=True).start()
                return found.group(1).decode()
            if ready and not chunk:
                break
        self.process.kill()
        self.process.wait()
        raise LinkError(f"QEMU did not start: {said.decode(errors='replace').strip()[-300:]}")

    @staticmethod
    def _drain(fd: int) -> None:
        """QEMU's later words must not fill its pipe."""
        try:
            while os.read(fd, 4096):
                pass
        except OSError:
            pass

    def _close(self) -> None:
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1
        if self.process.stdout is not None and not self.process.stdout.closed:
            self.process.stdout.close()


class QuietBody:
    """A body that stands still: feeds the plant at 500 Hz, so that a board alone has sensors."""

    def __init__(self, memory: EmulatedMemory) -> None:
        self._plant = Plant.attach(os.open(memory.path, os.O_RDWR), PLANT_OFFSET)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        while not self._stop.wait(0.002):
            self._plant.sensors["imu_seq"] += 1
            self._plant.write_sensors()

    def close(self) -> None:
        """Stop feeding."""
        self._stop.set()
        self._thread.join(1.0)
        self._plant.close()
