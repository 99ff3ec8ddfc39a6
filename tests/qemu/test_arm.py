"""The same C on ARM: the limiter's outputs bit for bit, and images of the other compiler."""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge import arm_build
from firmware_bridge.arm_build import ARM_FLAGS, MCU, PORTS, arm_compilers
from firmware_bridge.board_header import board_header, linker_script
from firmware_bridge.build import SOURCES, Target, build
from firmware_bridge.header import JOINT, TABLE, limits_header, packed_limits, protocol_header
from firmware_bridge.native import library
from firmware_bridge.package import build_firmware, flat_program
from firmware_bridge.qemu import EmulatedMemory, QemuFirmware
from firmware_bridge.signing import DEVELOPMENT_KEY
from firmware_bridge.update import UpdatePort

HERE = Path(__file__).parent
HOST_STATE = 24  # bytes of limit_state


def crcs_here(table) -> list[int]:
    """What limits_probe.c prints, by the shared library."""
    lib = library()
    packed = ctypes.create_string_buffer(packed_limits(table))
    seed = 12345

    def chance() -> int:
        nonlocal seed
        seed = (seed * 1664525 + 1013904223) & 0xFFFFFFFF
        return seed

    out = []
    for j in range(len(table.joints)):
        limit = ctypes.c_void_p(ctypes.addressof(packed) + TABLE.size + j * JOINT.size)
        state = ctypes.create_string_buffer(HOST_STATE)
        lib.limit_start(limit, state, chance() % 20000 - 10000)
        crc = 0
        for block in range(200):
            target = chance() % 65536 - 32768
            outputs = np.zeros(64, np.int32)
            for i in range(64):
                if block % 7 == 6:
                    lib.limit_stop(limit, state, 1)
                else:
                    lib.limit_step(limit, state, target, 1 if block % 2 else 10)
                outputs[i] = lib.limit_output(limit, state)
            crc = (crc * 31 + lib.crc16_xmodem(outputs.ctypes.data, outputs.nbytes)) & 0xFFFFFFFF
        out.append(crc)
    return out


def test_the_limiter_on_arm_gives_the_same_outputs(firmware, board, table, tmp_path):
    probe = build(
        Target(
            name="probe.elf",
            sources=(str(HERE / "limits_probe.c"), "limits.c", "codec.c", *MCU, *PORTS["mps2"]),
            flags=(*ARM_FLAGS, f"-I{SOURCES / 'mcu'}", f"-I{SOURCES / 'boot'}", f"-I{SOURCES / 'mcu' / 'libc'}"),
            headers={
                "protocol_gen.h": protocol_header(), "board_gen.h": board_header(board),
                "limits_gen.h": limits_header(table),
                "link.ld": linker_script(board.memory.boot_flash, board.memory.boot_ram),
            },
            commands=arm_compilers()[:1],
            last=("-Wl,--gc-sections", "-T", "@FOLDER@/link.ld", "-nostdlib", "-lgcc"),
        )
    )  # fmt: skip
    program = tmp_path / "probe.bin"
    program.write_bytes(flat_program(probe))
    qemu = QemuFirmware(program, EmulatedMemory.create(tmp_path / "memory", board))
    fd = os.open(qemu.port, os.O_RDONLY | os.O_NOCTTY)
    said, end = b"", time.monotonic() + 30
    while said.count(b"\n") < len(table.joints) and time.monotonic() < end:
        if select.select([fd], [], [], 0.5)[0]:
            said += os.read(fd, 4096)
    os.close(fd)
    qemu.kill()
    assert [int(line) for line in said.split()] == crcs_here(table)


def test_images_of_the_zig_wheel_boot_and_answer(firmware, board, table, tmp_path, monkeypatch):
    zig = [c for c in arm_compilers() if "ziglang" in c]
    if not zig:
        pytest.skip("no ziglang wheel here")
    monkeypatch.setattr(arm_build, "arm_compilers", lambda: tuple(zig))
    built = build_firmware(board, table, "0.7.0", DEVELOPMENT_KEY)
    assert built.image is not None and built.loader is not None
    memory = EmulatedMemory.create(tmp_path / "memory", board)
    memory.write_slot(0, built.image.read_bytes())
    qemu = QemuFirmware(built.loader, memory)
    try:
        time.sleep(1.5)
        with UpdatePort(qemu.port, timeout_s=5) as port:
            assert port.info().application and port.images()[0].version == "0.7.0"
    finally:
        qemu.kill()
