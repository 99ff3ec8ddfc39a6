"""Byte streams to the MCU: what a link needs, and the core in this process."""

from __future__ import annotations

from typing import Protocol

from firmware_bridge.lockstep import LockstepFirmware


class Transport(Protocol):
    """A non-blocking byte stream; OSError means the other end is gone."""

    def read_into(self, buffer: memoryview) -> int:
        """Read what is there, at most the buffer; 0: nothing."""

    def write(self, data: memoryview) -> int:
        """Write at once; returns how much was taken."""

    def fileno(self) -> int | None:
        """To wait on, if there is one."""

    def reopen(self) -> bool:
        """Try once to open again after an OSError."""

    def close(self) -> None:
        """Give the stream back; closing twice does no harm."""


class LockstepTransport:
    """The firmware core in this process, without delay."""

    def __init__(self, firmware: LockstepFirmware) -> None:
        self.firmware = firmware

    def read_into(self, buffer: memoryview) -> int:
        """Everything the core has sent."""
        data = self.firmware.transmit()
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: memoryview) -> int:
        """Give the core bytes; it handles them at once."""
        self.firmware.receive(bytes(data))
        return len(data)

    def fileno(self) -> int | None:
        """Nothing to wait on."""
        return None

    def reopen(self) -> bool:
        """Always open."""
        return True

    def close(self) -> None:
        """Nothing to give back."""
