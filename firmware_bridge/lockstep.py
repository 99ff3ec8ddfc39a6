"""The firmware core in this process, in the caller's time: deterministic, many per process."""

from __future__ import annotations

import ctypes

import numpy as np

from firmware_bridge.header import packed_limits
from firmware_bridge.limits import LimitTable
from firmware_bridge.memory import address
from firmware_bridge.native import library
from firmware_bridge.plant import Plant
from firmware_bridge.protocol import LogLevel

# 20 s before the low half of the MCU clock wraps, so that every run crosses it
CLOCK_START_US = (1 << 32) - 20_000_000
TX_SIZE = 8192


class LockstepFirmware:
    """One firmware core; `run` advances it to an MCU time, tick by tick."""

    def __init__(
        self,
        table: LimitTable,
        clock_start_us: int = CLOCK_START_US,
        plant: Plant | None = None,
        boot_id: int = 1,
        uid: bytes = b"lockstep",
    ) -> None:
        lib = library()
        self.table = table
        self.clock_start_us = clock_start_us
        self.plant = plant or Plant(bytearray(lib.plant_size()))
        self._limits = np.frombuffer(packed_limits(table), np.uint8).copy()
        self._core = np.zeros(lib.core_size() // 8 + 1, np.uint64)
        self._at = ctypes.c_void_p(address(self._core))
        self._out = np.zeros(TX_SIZE, np.uint8)
        self._out_at = ctypes.c_void_p(address(self._out))
        self._run, self._receive = lib.lockstep_run, lib.lockstep_receive
        self._transmit = lib.lockstep_transmit
        lib.lockstep_init(
            self._at, address(self._limits), self.plant.address, clock_start_us, boot_id,
            uid.ljust(12, b"\0")[:12],
        )  # fmt: skip

    def mcu_us(self, now_ns: int) -> int:
        """MCU time of a host time, where host time 0 is the start."""
        return self.clock_start_us + now_ns // 1000

    def run(self, until_us: int) -> None:
        """Run every 1 kHz tick due up to that MCU time."""
        self._run(self._at, until_us)

    def receive(self, data: bytes) -> None:
        """Bytes from the host, arriving now (the time of the last `run`)."""
        self._receive(self._at, data, len(data))

    def log(self, level: LogLevel, text: str) -> None:
        """Have the firmware say something."""
        library().core_log(self._at, level, text.encode())

    def transmit(self) -> bytes:
        """All bytes waiting for the host."""
        size = self._transmit(self._at, self._out_at, TX_SIZE)
        return bytes(self._out.data[:size])

    def transmit_to(self, buffer_at: int, space: int) -> int:
        """Move waiting bytes to an address; returns how many."""
        return int(self._transmit(self._at, buffer_at, space))
