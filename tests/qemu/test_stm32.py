"""The STM32F405 images on QEMU's F405 (netduinoplus2): the chip's core and its USART, not the board.

QEMU 7.2 has no core-coupled RAM and no unique id, so these two addresses are moved; it has no clock
tree, flash controller, ADC or SPI either, so the bounded waits are what is tested of those. It feeds
every timer 1 GHz, so the oscillator that the image believes it runs on is moved as well.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time

import msgspec
import pytest

from firmware_bridge.board import load_board
from firmware_bridge.link import Link
from firmware_bridge.package import build_firmware
from firmware_bridge.serial_port import SerialTransport
from firmware_bridge.signing import DEVELOPMENT_KEY
from firmware_bridge.update import UpdatePort
from runtime.clock import now_ns, sleep_until

TIMER_HZ = 1_000_000_000  # of every timer of QEMU's F405


@pytest.fixture
def f405(firmware, table):
    board = load_board("stm32f405")
    memory = msgspec.structs.replace(
        board.memory, boot_ram=(0x2002_0000, 0xF000), handoff=0x2002_FF00, uid=0x0800_0000
    )
    clock = msgspec.structs.replace(board.clock, rc_hz=2 * TIMER_HZ)  # a timer runs at half of it
    board = msgspec.structs.replace(
        board, name="f405-emulated", hardware="companion-f405-emulated", memory=memory, clock=clock
    )
    built = build_firmware(board, table, "0.4.0", DEVELOPMENT_KEY)
    image = f"loader,file={built.image},addr={board.nvm.base + board.nvm.slots[0]:#x},force-raw=on"
    qemu = subprocess.Popen(
        ["qemu-system-arm", "-M", "netduinoplus2", "-kernel", str(built.loader), "-device", image,
         "-display", "none", "-monitor", "none", "-serial", "pty"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, end = b"", time.monotonic() + 20
    while b"redirected" not in said and time.monotonic() < end:
        if select.select([qemu.stdout], [], [], 0.5)[0]:
            said += os.read(qemu.stdout.fileno(), 1000)
    port = re.search(rb"/dev/pts/\d+", said).group().decode()
    hold = os.open(port, os.O_RDWR | os.O_NOCTTY)
    time.sleep(2)
    yield port
    qemu.kill()
    qemu.wait()
    qemu.stdout.close()
    os.close(hold)


def test_the_loader_takes_the_image_and_the_application_serves(f405, table):
    with UpdatePort(f405, timeout_s=60) as port:
        info = port.info()
        assert (
            info.application
            and info.hardware == "companion-f405-emulated"
            and info.verdicts[0] == "ok"
        )
        assert [i.version for i in port.images()] == ["0.4.0"]
    link = Link(SerialTransport(f405), table)
    end = time.monotonic() + 90
    while time.monotonic() < end and not (link.ready and link.sensors_seq and link.health):
        link.step(now_ns())
        sleep_until(now_ns() + 4_000_000)
    link.close()
    assert link.ready, link.status
    assert link.identity is not None and link.identity.version == "0.4.0"
    assert link.sensors_seq and link.health and link.health.rx_ok
