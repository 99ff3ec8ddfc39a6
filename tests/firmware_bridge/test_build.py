"""The native build: either compiler, two at once, none at all, and no C library for the MCU."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from firmware_bridge import build as native_build
from firmware_bridge.build import FLAGS, SOURCES, Target, build
from firmware_bridge.errors import BuildError
from firmware_bridge.header import limits_header, packed_limits, protocol_header
from firmware_bridge.host import host_program
from firmware_bridge.native import CORE, LIBRARY

HAS_ZIG = importlib.util.find_spec("ziglang") is not None
SMALL = Target("libsmall.so", ("plant.c",), ("-shared", "-fPIC"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(native_build, "build_root", lambda: tmp_path / "native")
    return tmp_path / "native"


def test_two_builders_at_once(elsewhere):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: build(SMALL), range(4)))
    assert len(paths) == 1
    assert ctypes.CDLL(str(paths.pop())).plant_size() > 300
    assert len(list(elsewhere.iterdir())) == 1  # no scratch folder stays


def test_built_once(elsewhere):
    first = build(SMALL)
    stamp = first.stat().st_mtime_ns
    assert build(SMALL) == first
    assert first.stat().st_mtime_ns == stamp


@pytest.mark.skipif(not HAS_ZIG, reason="the ziglang wheel is not installed")
def test_zig_builds_the_whole_library(elsewhere, monkeypatch):
    monkeypatch.setenv("COMPANION_CC", "zig")
    assert ctypes.CDLL(str(build(LIBRARY))).core_size() > 1000


@pytest.mark.skipif(not HAS_ZIG, reason="the ziglang wheel is not installed")
def test_core_needs_no_c_library(tmp_path):
    """Cortex-M4, freestanding: the same sources become an MCU image."""
    (tmp_path / "protocol_gen.h").write_text(protocol_header())
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi"]
    flags = ["-mcpu=cortex_m4", "-Os", "-ffreestanding", *FLAGS, f"-I{tmp_path}", f"-I{SOURCES}"]
    for name in CORE:
        command = [*zig, *flags, "-c", str(SOURCES / name), "-o", str(tmp_path / f"{name}.o")]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_no_compiler_is_one_clear_sentence(elsewhere, monkeypatch):
    monkeypatch.setattr(native_build, "compilers", list)
    with pytest.raises(BuildError, match="pip install ziglang"):
        build(SMALL)


def test_a_failing_compiler_is_quoted(elsewhere, monkeypatch):
    monkeypatch.setenv("COMPANION_CC", "false --really")
    with pytest.raises(BuildError, match="false --really"):
        build(SMALL)
    monkeypatch.setenv("COMPANION_CC", "/no/such/compiler")
    with pytest.raises(BuildError, match="/no/such/compiler"):
        build(SMALL)


def test_compiled_in_limits_are_the_packed_ones(table):
    dumped = subprocess.run([host_program(table), "--dump-limits"], capture_output=True, check=True)
    assert dumped.stdout == packed_limits(table)
    assert "companion" in limits_header(table)
