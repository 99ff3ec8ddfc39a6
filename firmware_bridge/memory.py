"""Addresses of Python buffers for C."""

from __future__ import annotations

import mmap
import os

import numpy as np
import numpy.typing as npt

Memory = mmap.mmap | bytearray
Bytes = npt.NDArray[np.uint8]


def view(memory: Memory | memoryview) -> Bytes:
    """The memory as bytes; holding the view keeps the memory alive."""
    return np.frombuffer(memory, np.uint8)


def address(array: npt.NDArray[np.generic]) -> int:
    """Address of an array's first byte; the caller keeps the array alive."""
    return int(array.ctypes.data)


def anonymous(name: str, size: int) -> int:
    """File descriptor of fresh zeroed memory that children may inherit; gone with its last user."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd
