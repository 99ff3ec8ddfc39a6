"""A board in QEMU for each test: real images, real flash file, real smpclient."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_bridge.board import Board, load_board
from firmware_bridge.errors import BuildError
from firmware_bridge.limits import LimitTable
from firmware_bridge.package import Firmware, build_firmware
from firmware_bridge.qemu import EmulatedMemory, QemuFirmware, QuietBody
from firmware_bridge.signing import DEVELOPMENT_KEY, sign
from firmware_bridge.update import BoardInfo, UpdatePort
from runtime.body import load_body

ROOT = Path(__file__).parents[2]
VERSIONS = ("0.1.0", "0.2.0", "0.3.0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/qemu/" in str(item.path):
            item.add_marker(pytest.mark.heavy)


@pytest.fixture(scope="session")
def board() -> Board:
    return load_board("mps2")


@pytest.fixture(scope="session")
def table() -> LimitTable:
    return load_body("companion").limit_table()


@pytest.fixture(scope="session")
def firmware(
    board: Board, table: LimitTable, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Firmware]:
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("no qemu-system-arm here; .ci/run installs it")
    try:
        # one worker compiles, those beside it wait and find what it built
        with (tmp_path_factory.getbasetemp().parent / "building").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            built = {v: build_firmware(board, table, v, DEVELOPMENT_KEY) for v in VERSIONS}
    except BuildError as error:
        pytest.skip(f"no compiler for ARM here: {error}")
    if built["0.1.0"].image is None:
        pytest.skip(built["0.1.0"].lacks)
    return built


class Bench:
    """One emulated board with power, a body that stands still, and its update port."""

    def __init__(self, memory: EmulatedMemory, loader: Path) -> None:
        self.memory, self.loader = memory, loader
        self.body = QuietBody(memory)
        self.qemu = QemuFirmware(loader, memory)

    def power_cycle(self) -> None:
        self.qemu.kill()
        self.qemu = QemuFirmware(self.loader, self.memory)

    def quiet(self) -> None:
        """Drop what an earlier host left in the pty."""
        fd = os.open(self.qemu.port, os.O_RDWR | os.O_NOCTTY)
        termios.tcflush(fd, termios.TCIFLUSH)
        os.close(fd)

    def update(self, timeout_s: float = 5.0) -> UpdatePort:
        self.quiet()
        return UpdatePort(self.qemu.port, timeout_s=timeout_s)

    def info(self, within_s: float = 15.0) -> BoardInfo:
        end, patience_s = time.monotonic() + within_s, 0.2
        while True:
            try:
                with self.update(patience_s) as port:
                    return port.info()
            except Exception:  # it may be starting still, or slow on a busy machine
                if time.monotonic() > end:
                    raise
                patience_s = min(2 * patience_s, 1.0)

    def running(self) -> str:
        """Version of the active image."""
        self.info()
        with self.update() as port:
            return next(i.version for i in port.images() if i.active)

    def close(self) -> None:
        self.qemu.kill()
        self.body.close()


@pytest.fixture
def bench(firmware: dict[str, Firmware], board: Board, tmp_path: Path) -> Iterator[Bench]:
    """0.1.0 in slot 0, slot 1 empty."""
    memory = EmulatedMemory.create(tmp_path / "memory", board)
    image = firmware["0.1.0"].image
    assert image is not None and firmware["0.1.0"].loader is not None
    memory.write_slot(0, image.read_bytes())
    bench = Bench(memory, firmware["0.1.0"].loader)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def dead_image(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed 0.9.0 that hangs at once: vectors, and a branch to itself."""
    exec_base = board.memory.app_exec[0]
    top = board.memory.app_ram[0] + board.memory.app_ram[1]
    vectors = struct.pack("<II", top, exec_base + 0x40 | 1) + struct.pack(
        "<14I", *[exec_base + 0x40 | 1] * 14
    )
    out = tmp_path_factory.mktemp("dead") / "dead.bin"
    sign(vectors + b"\xfe\xe7\x00\xbf", board, "0.9.0", DEVELOPMENT_KEY, out)
    return out


@pytest.fixture
def companion(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command as a person runs it, with folders of its own."""
    env = {
        **os.environ,
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }

    def run(*arguments: str, timeout: float = 150) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tools.companion", *map(str, arguments)],
            capture_output=True, text=True, cwd=ROOT, env=env, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run
