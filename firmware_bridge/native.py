"""Loads the shared library and declares its functions to ctypes; one load per process."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path

from firmware_bridge.build import Target, build
from firmware_bridge.errors import BuildError
from firmware_bridge.header import protocol_header

_P, _U8, _U16, _U32 = ctypes.c_void_p, ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32
_I32, _U64, _I64, _BOOL = ctypes.c_int32, ctypes.c_uint64, ctypes.c_int64, ctypes.c_bool

CORE = (
    "core.c",
    "core_sense.c",
    "core_host.c",
    "core_param.c",
    "core_report.c",
    "limits.c",
    "codec.c",
    "plant.c",
)
LIBRARY = Target(
    name="libcompanion.so",
    sources=(*CORE, "lockstep.c", "host.c", "ring.c"),
    flags=("-shared", "-fPIC"),
    headers={"protocol_gen.h": protocol_header()},
)

# name: (result, arguments)
FUNCTIONS: dict[str, tuple[object, tuple[object, ...]]] = {
    "plant_size": (_U32, ()),
    "plant_init": (None, (_P,)),
    "plant_valid": (_BOOL, (_P,)),
    "plant_write_sensors": (None, (_P, _P)),
    "plant_read_sensors": (_BOOL, (_P, _P)),
    "plant_write_outputs": (None, (_P, _P)),
    "plant_read_outputs": (_BOOL, (_P, _P)),
    "ring_size": (_U64, (_U32, _U32)),
    "ring_init": (_BOOL, (_P, _U32, _U32)),
    "ring_head": (_U64, (_P,)),
    "ring_write": (_U64, (_P, _P, _I64)),
    "ring_latest": (_U64, (_P, _P, _P, _U64)),
    "ring_read": (ctypes.c_int, (_P, _U64, _P, _P)),
    "ring_wait": (_U64, (_P, _U64, _I64)),
    "crc16_xmodem": (_U16, (_P, ctypes.c_size_t)),
    "frame_encode": (ctypes.c_size_t, (_P, ctypes.c_size_t, _P)),
    "frame_decode": (ctypes.c_int, (_P, ctypes.c_size_t, _P)),
    "host_size": (_U32, ()),
    "host_feed": (_U32, (_P, _P, _U32, _I64)),
    "host_motion": (_U32, (_P, _U8, _U32, _U16, _U16, _U16, _P, _U32)),
    "core_size": (ctypes.c_size_t, ()),
    "lockstep_init": (None, (_P, _P, _P, _U64, _U32, _P)),
    "lockstep_run": (None, (_P, _U64)),
    "lockstep_receive": (None, (_P, ctypes.c_char_p, _U32)),
    "lockstep_transmit": (_U32, (_P, _P, _U32)),
    "lockstep_identify": (None, (_P, _P)),
    "lockstep_port": (None, (_P, _P)),
    "core_run": (None, (_P, _U64)),
    "core_receive": (None, (_P, _U64, ctypes.c_char_p, ctypes.c_size_t)),
    "core_pending": (_P, (_P, _P)),
    "core_park": (None, (_P,)),
    "core_log": (None, (_P, _U8, ctypes.c_char_p)),
    "core_send_body": (None, (_P, ctypes.c_char_p, ctypes.c_size_t)),
    "core_flags": (_U32, (_P,)),
    "core_healthy": (_BOOL, (_P,)),
    "limit_start": (None, (_P, _P, _I32)),
    "limit_step": (_BOOL, (_P, _P, _I32, _I32)),
    "limit_stop": (None, (_P, _P, _I32)),
    "limit_output": (_I32, (_P, _P)),
}


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library, built at first use; its functions carry their argument types.

    COMPANION_LIBRARY names another build of it: with coverage, with sanitizers, a mutant.
    """
    other = os.environ.get("COMPANION_LIBRARY")
    path = Path(other) if other else build(LIBRARY)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"cannot load {path}: {error}; remove its folder, try again") from error
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype = result
        function.argtypes = arguments
    return loaded
