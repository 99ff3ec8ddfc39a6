"""Memory that stays with the process: a training on the CPU asks for the same arrays ever again."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT_BYTES = (1 << 31) - 1


def keep_memory() -> bool:
    """Let glibc keep large arrays instead of handing them back; whether it does.

    Else every large tensor is mapped anew and its pages are faulted in one by one, which took a
    quarter of an update's time. Other C libraries have no such switch: there nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
