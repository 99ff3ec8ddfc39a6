"""A ring of stamped records in shared memory (`firmware/ring.h`): one writer, many readers."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import MemoryMismatch
from firmware_bridge.memory import Memory, address, anonymous, view
from firmware_bridge.native import library

Record = npt.NDArray[Any]


class Ring:
    """A ring in `memory` (zeroed, or already a ring of the same record size and depth)."""

    def __init__(self, memory: Memory, record_size: int, depth: int) -> None:
        if record_size < 1 or depth < 2:
            raise MemoryMismatch(
                f"ring of {depth} records of {record_size} bytes: needs at least 2 of 1 byte"
            )
        self._lib = library()
        self._view = view(memory)
        needed = self.size(record_size, depth)
        if self._view.size < needed:
            raise MemoryMismatch(
                f"ring of {depth} x {record_size} bytes: needs {needed} bytes, "
                f"found {self._view.size}; make the memory with Ring.size()"
            )
        self.record_size = record_size
        self.depth = depth
        self._at = ctypes.c_void_p(address(self._view))
        if not self._lib.ring_init(self._at, record_size, depth):
            raise MemoryMismatch(
                f"ring of {depth} x {record_size} bytes: the memory holds a ring of another "
                "shape; both ends must come from the same version"
            )
        self._last: Record | None = None
        self._last_address = 0
        self._stamp = ctypes.c_int64(0)
        self._stamp_at = ctypes.byref(self._stamp)
        self._read, self._latest = self._lib.ring_read, self._lib.ring_latest
        self._write, self._head = self._lib.ring_write, self._lib.ring_head

    @staticmethod
    def size(record_size: int, depth: int) -> int:
        """Bytes of memory that a ring takes."""
        return int(library().ring_size(record_size, depth))

    @staticmethod
    def create_fd(name: str, record_size: int, depth: int) -> int:
        """File descriptor of fresh memory of the right size, to be inherited by children."""
        return anonymous(name, Ring.size(record_size, depth))

    @property
    def head(self) -> int:
        """Sequence of the newest record, 0 while there is none."""
        return int(self._head(self._at))

    @property
    def t_ns(self) -> int:
        """Stamp of the record last copied by `latest` or `read`."""
        return self._stamp.value

    def _address(self, record: Record) -> int:
        """Address of a caller's record; the last one is remembered, as callers reuse theirs."""
        if record is not self._last:
            assert record.nbytes == self.record_size and record.flags.c_contiguous
            self._last, self._last_address = record, address(record)
        return self._last_address

    def write(self, record: Record, t_ns: int) -> int:
        """Append a record (C-contiguous, `record_size` bytes); returns its sequence."""
        return int(self._write(self._at, self._address(record), t_ns))

    def latest(self, out: Record, last_seq: int = 0) -> int:
        """Copy the newest record into `out` if it is newer than `last_seq`; returns its sequence.

        Returns `last_seq` (0 by default: nothing was ever written) and leaves `out` when not.
        """
        return int(self._latest(self._at, self._address(out), self._stamp_at, last_seq))

    def read(self, seq: int, out: Record) -> bool | None:
        """Copy record `seq`; True: done, False: already overwritten, None: not yet written."""
        status = self._read(self._at, seq, self._address(out), self._stamp_at)
        return None if status == 0 else bool(status == 1)

    def wait(self, last_seq: int, timeout_us: int) -> int:
        """Sleep until the head differs from `last_seq` or the time is over; returns the head."""
        return int(self._lib.ring_wait(self._at, last_seq, timeout_us))

    def record(self, dtype: np.dtype[Any]) -> Record:
        """A fresh 0-d array to copy records into."""
        assert dtype.itemsize == self.record_size
        return np.zeros((), dtype)
