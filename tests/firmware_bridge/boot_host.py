"""The loader's C on this machine: image check, slots, update server, over flash in the caller's memory."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import pytest

from firmware_bridge.arm_build import UPDATE
from firmware_bridge.board import Board, load_board
from firmware_bridge.board_header import board_header
from firmware_bridge.build import SOURCES, Target, build
from firmware_bridge.errors import BuildError
from firmware_bridge.header import protocol_header
from firmware_bridge.signing import DEVELOPMENT_KEY, load_key, sign
from firmware_bridge.sources import library_source

VERDICTS = (
    "ok", "empty", "bad header", "wrong load address", "truncated", "bad trailer", "wrong hardware",
    "bad hash", "wrong key", "bad signature", "downgrade", "not confirmed",
)  # fmt: skip
NVM_SIZE = 0x9_0000


class Version(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint8),
        ("minor", ctypes.c_uint8),
        ("revision", ctypes.c_uint16),
        ("build", ctypes.c_uint32),
    ]


class ImageInfo(ctypes.Structure):
    _fields_ = [
        ("verdict", ctypes.c_int), ("version", Version), ("body", ctypes.c_void_p),
        ("size", ctypes.c_uint32), ("hash", ctypes.c_uint8 * 32),
    ]  # fmt: skip


class Record(ctypes.Structure):
    _fields_ = [
        ("magic", ctypes.c_uint32), ("sequence", ctypes.c_uint32),
        *((n, ctypes.c_uint8) for n in ("active", "pending", "trial", "permanent", "forced", "refused", "refused_slot", "pad")),
        ("floor", Version), ("crc", ctypes.c_uint32),
    ]  # fmt: skip


class SmpState(ctypes.Structure):
    _fields_ = [
        ("application", ctypes.c_bool), ("driving", ctypes.c_bool), ("slot", ctypes.c_uint8),
        ("reset_cause", ctypes.c_uint8), ("uid", ctypes.c_char_p),
    ]  # fmt: skip


@functools.cache
def boot_library() -> ctypes.CDLL:
    target = Target(
        name="libcompanion-boot.so",
        sources=(*UPDATE, "boot/nvm_host.c"),
        flags=(
            "-shared",
            "-fPIC",
            "-ffunction-sections",
            f"-I{SOURCES / 'boot'}",
            f"-I{SOURCES / 'boot' / 'libsodium'}",
        ),
        headers={
            "protocol_gen.h": protocol_header(),
            "board_gen.h": board_header(load_board("mps2")),
            "key_gen.h": load_key(DEVELOPMENT_KEY).header(),
            "exports.map": "{ global: slots_*; smp_handle; image_*; nvm_host_*; local: *; };\n",
        },
        libraries=(library_source("libsodium"), library_source("zcbor")),
        # what the loader does not call is dropped, as in its image
        last=("-Wl,--gc-sections", "-Wl,--version-script=@FOLDER@/exports.map"),
    )
    library = ctypes.CDLL(str(build(target)))
    library.nvm_host_cut_after.argtypes = [ctypes.c_int64]
    library.image_says.restype = ctypes.c_char_p
    library.smp_handle.restype = ctypes.c_size_t
    library.slots_confirm.restype = ctypes.c_bool
    return library


def boot_or_skip() -> ctypes.CDLL:
    try:
        return boot_library()
    except BuildError as error:
        pytest.skip(f"the loader's libraries cannot be had here: {error}")


class PowerCut(Exception):
    pass


class Flash:
    """A board's flash and record, and the C that works on it."""

    def __init__(self) -> None:
        self.board: Board = load_board("mps2")
        self.lib = boot_or_skip()
        self.memory = bytearray(b"\xff" * NVM_SIZE)
        self.attach()

    def attach(self) -> None:
        self._view = (ctypes.c_uint8 * NVM_SIZE).from_buffer(self.memory)
        self.lib.nvm_host_attach(self._view)
        self.lib.nvm_host_cut_after(-1)

    def put(self, slot: int, data: bytes) -> None:
        start, size = self.board.nvm.slots[slot], self.board.nvm.slot_size
        self.memory[start : start + size] = data.ljust(size, b"\xff")

    def check(self, slot: int) -> str:
        info = ImageInfo()
        return VERDICTS[self.lib.slots_check(slot, ctypes.byref(info))]

    def choose(self) -> tuple[str, Record, ImageInfo]:
        record, info = Record(), ImageInfo()
        verdict = self.lib.slots_choose(ctypes.byref(record), ctypes.byref(info))
        return VERDICTS[verdict], record, info

    def boot(self) -> str:
        """Version that runs after a boot, or the verdict."""
        verdict, _, info = self.choose()
        v = info.version
        return f"{v.major}.{v.minor}.{v.revision}" if verdict == "ok" else verdict

    def test(self, slot: int, permanent: bool = False, forced: bool = False) -> str:
        return VERDICTS[self.lib.slots_test(slot, permanent, forced)]

    def confirm(self, version: str) -> None:
        major, minor, revision = map(int, version.split("."))
        assert self.lib.slots_confirm(ctypes.byref(Version(major, minor, revision, 0)))


def signed(folder: Path, version: str, body: bytes = bytes(range(256)) * 4, **changes) -> bytes:
    """A small image; `changes` are board fields or another key."""
    import msgspec

    key = changes.pop("key", DEVELOPMENT_KEY)
    out = folder / f"{version}-{len(changes)}.bin"
    sign(body, msgspec.structs.replace(load_board("mps2"), **changes), version, key, out)
    return out.read_bytes()
