"""An STM32F405's ROM boot loader on a pty, as ST's AN3155 tells it: what `stm32loader` talks to."""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import select
import struct
import termios
import threading
import tty

ACK, NACK, SYNC = 0x79, 0x1F, 0x7F
GET, VERSION, ID, READ, GO, WRITE, ERASE = 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44
COMMANDS = bytes((GET, VERSION, ID, READ, GO, WRITE, ERASE, 0x63, 0x73, 0x82, 0x92))
FLASH, SYSTEM = 0x0800_0000, 0x1FFF_7A00
UID = bytes.fromhex("2a0041000f51383437363730")

# A pty has neither parity nor modem lines; a UART behind a USB bridge has both, and stm32loader uses them.
AS_A_UART = """
import fcntl, termios
real = fcntl.ioctl
def ioctl(fd, request, *rest):
    try:
        return real(fd, request, *rest)
    except OSError:
        if request in (termios.TIOCMBIS, termios.TIOCMBIC):
            return 0
        raise
fcntl.ioctl = ioctl
really_set = termios.tcsetattr
def tcsetattr(fd, when, settings):
    really_set(fd, when, [*settings[:2], settings[2] & ~termios.PARENB, *settings[3:]])
termios.tcsetattr = tcsetattr
# Without a reset line it finds the ROM synchronised already, and waits for an answer that none gives.
from stm32loader import uart
class Connection(uart.SerialConnection):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self._timeout = 1  # of five seconds: nothing on a pty takes one
uart.SerialConnection = Connection
"""


def xor(data: bytes) -> int:
    return functools.reduce(operator.xor, data, 0)


class Silence(Exception):
    """Power or wire is gone."""


class Stm32Rom:
    """1 MiB of flash that is full of an old program; erasing sets ones, writing only clears them.

    `nack_at` refuses that write (counted from 1), `dead_at` falls silent at it until power comes back.
    """

    def __init__(self, chip: int = 0x413) -> None:
        self.chip = chip
        self.flash = bytearray(b"\xa5" * (1 << 20))
        system = bytearray(256)
        system[0x10:0x1C] = UID
        system[0x22:0x24] = struct.pack("<H", len(self.flash) >> 10)
        self._memory = {FLASH: self.flash, SYSTEM: system}
        self.done: list[str] = []
        self.writes = self.nack_at = self.dead_at = 0
        self.synced = self.dead = False
        self._power = 0
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def power_cycle(self) -> None:
        """BOOT0 still high: the ROM waits for its rate again."""
        termios.tcflush(self._slave, termios.TCIOFLUSH)
        self.dead_at = 0
        self.synced = self.dead = False
        self._power += 1

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(Silence):
                self._command()

    def _take(self, count: int) -> bytes:
        data, power = b"", self._power
        while len(data) < count:
            if self._ended.is_set() or self._power != power:
                raise Silence
            if select.select([self._master], [], [], 0.05)[0]:
                data += os.read(self._master, count - len(data))
                if self.dead:
                    raise Silence
        return data

    def _say(self, *data: int | bytes) -> None:
        for part in data:
            os.write(self._master, bytes([part]) if isinstance(part, int) else part)

    def _command(self) -> None:
        if not self.synced:
            if self._take(1)[0] == SYNC:
                self.synced = True
                self._say(ACK)
            return
        command, inverse = self._take(2)
        serve = {GET: self._get, VERSION: self._version, ID: self._id, READ: self._read,
                 WRITE: self._write, ERASE: self._erase, GO: self._go}.get(command)  # fmt: skip
        if command ^ inverse != 0xFF or serve is None:
            self._say(NACK)
            return
        self._say(ACK)
        serve()

    def _get(self) -> None:
        self._say(len(COMMANDS), 0x31, COMMANDS, ACK)

    def _version(self) -> None:
        self._say(0x31, 0, 0, ACK)

    def _id(self) -> None:
        self._say(1, struct.pack(">H", self.chip), ACK)

    def _place(self) -> tuple[bytearray, int] | None:
        """Four bytes of address and their checksum; None when refused."""
        data = self._take(5)
        (address,) = struct.unpack(">I", data[:4])
        for base, memory in self._memory.items():
            if xor(data) == 0 and base <= address < base + len(memory):
                self._say(ACK)
                return memory, address - base
        self._say(NACK)
        return None

    def _read(self) -> None:
        place = self._place()
        if place is None:
            return
        count, inverse = self._take(2)
        memory, at = place
        if count ^ inverse != 0xFF or at + count + 1 > len(memory):
            self._say(NACK)
            return
        self._say(ACK, bytes(memory[at : at + count + 1]))

    def _write(self) -> None:
        place = self._place()
        if place is None:
            return
        count = self._take(1)
        data = self._take(count[0] + 2)
        self.writes += 1
        if self.writes == self.dead_at:
            self.dead = True
            raise Silence
        memory, at = place
        if xor(count + data) or memory is not self.flash or at % 4 or self.writes == self.nack_at:
            self._say(NACK)
            return
        for i, byte in enumerate(data[:-1]):
            memory[at + i] &= byte
        self.done.append("write")
        self._say(ACK)

    def _erase(self) -> None:
        count = self._take(2)
        pages = 0 if count == b"\xff\xff" else struct.unpack(">H", count)[0] + 1
        checksum = self._take(2 * pages + 1)
        if xor(count + checksum) or pages:  # of sectors: nobody asks for that here
            self._say(NACK)
            return
        self.flash[:] = b"\xff" * len(self.flash)
        self.done.append("erase")
        self._say(ACK)

    def _go(self) -> None:
        if self._place() is not None:
            self.done.append("go")
