"""Every operator and constant of limits.c matters: each mutant must differ from the gate."""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess

import numpy as np
import pytest

from firmware_bridge.build import SOURCES, compilers
from firmware_bridge.header import JOINT, TABLE, packed_limits
from runtime.body import load_body
from runtime.gate import Gate

# pattern and replacement; ties (`<` for `<=`) are left out: min and max do not feel them
RULES = {
    r" \+ ": " - ",
    r" - (?!INT|64)": " + ",
    r" < ": " >= ",
    r" > ": " <= ",
    r" != ": " == ",
    r"\? -": "? ",
    r"!limit": "limit",
    r"dt_ms;": "dt_ms * 2;",
    r"1000000000\)": "1001000000)",
    r"1000000\)": "1001000)",
    r"INT64_C\(1000\)": "INT64_C(1001)",
    r"/ 1000\)": "/ 1001)",
    r"\* 1000;": "* 1001;",
    r"DIVISOR 40": "DIVISOR 41",
    r"DIVISOR 10": "DIVISOR 11",
    r"acceleration = 0": "acceleration = 1",
    r"velocity = 0": "velocity = 1",
    r"/ unit": "/ (unit + 1)",
    r"unit / 2": "unit / 3",
}
TEXT = (SOURCES / "limits.c").read_text()
ROOT = re.search(r"int bits.*?;", TEXT)  # only a first guess: Newton forgives any large one
CODE_FROM = TEXT.index("#define POSITION_GAIN_DIVISOR")


def mutants():
    for pattern, replacement in RULES.items():
        for match in re.finditer(pattern, TEXT):
            if match.start() >= CODE_FROM and not ROOT.start() <= match.start() < ROOT.end():
                line = TEXT.count("\n", 0, match.start()) + 1
                text = TEXT[: match.start()] + replacement + TEXT[match.end() :]
                yield pytest.param(text, id=f"line{line}:{pattern}->{replacement}")


@functools.cache
def walk(dt_ms: int, steps: int):
    """A gate's walk over both kinds of joints, thrown to its limits now and then."""
    rng = np.random.default_rng(dt_ms)
    gate = Gate(load_body("companion").limit_table())
    gate.dt_ms = dt_ms
    start = [0, 0, 21_000, -9_000, 0, 12_000]
    gate.start(start)
    target = [0] * 6
    rows = []
    for step in range(steps):
        if rng.random() < 0.03:
            target = rng.integers(-32768, 32767, 6).tolist()
        if rng.random() < 0.02:
            target = [int(m.velocity // 10**6 + m.position // 10**9) for m in gate._motion]
        if step % 60 == 59:
            for joint, motion in zip(gate.joints, gate._motion, strict=True):
                motion.velocity = int(rng.choice([-1, 1])) * joint.velocity_max * 10**6
                motion.acceleration = int(rng.choice([-1, 1])) * joint.acceleration_max * 1000
        before = states_of(gate)
        stopping = step % 97 > 90
        out = gate.stop() if stopping else gate.limit(target)
        rows.append((before, stopping, list(target), out, gate.limited, states_of(gate)))
    return start, rows


def states_of(gate: Gate) -> list[int]:
    return [v for m in gate._motion for v in (m.position, m.velocity, m.acceleration)]


def agrees(lib: ctypes.CDLL) -> bool:
    raw = packed_limits(load_body("companion").limit_table())
    buffer = ctypes.create_string_buffer(raw, len(raw))
    limits = [
        ctypes.c_void_p(ctypes.addressof(buffer) + TABLE.size + j * JOINT.size) for j in range(6)
    ]
    lib.limit_step.restype = ctypes.c_bool
    for dt_ms in (1, 10):
        start, rows = walk(dt_ms, 1500)
        memory = (ctypes.c_int64 * 18)()
        states = [ctypes.c_void_p(ctypes.addressof(memory) + 24 * j) for j in range(6)]
        for j in range(6):
            lib.limit_start(limits[j], states[j], start[j])
        if list(memory) != rows[0][0]:
            return False
        for before, stopping, target, out, limited, state in rows:
            memory[:] = before
            said = 0
            for j in range(6):
                if stopping:
                    lib.limit_stop(limits[j], states[j], dt_ms)
                else:
                    said |= lib.limit_step(limits[j], states[j], target[j], dt_ms) << j
            got = [lib.limit_output(limits[j], states[j]) for j in range(6)]
            if got != out or list(memory) != state or not (stopping or said == limited):
                return False
    return True


def compiled(tmp_path, text: str) -> ctypes.CDLL:
    (tmp_path / "mutant.c").write_text(text)
    command = [*compilers()[0], "-std=c11", "-O1", "-shared", "-fPIC", f"-I{SOURCES}"]
    target = ["-o", str(tmp_path / "mutant.so"), str(tmp_path / "mutant.c")]
    subprocess.run([*command, *target], check=True, capture_output=True)
    return ctypes.CDLL(str(tmp_path / "mutant.so"))


def test_the_original_agrees(tmp_path):
    assert agrees(compiled(tmp_path, TEXT))


@pytest.mark.heavy
@pytest.mark.parametrize("text", list(mutants()))
def test_every_mutant_is_caught(tmp_path, text):
    assert not agrees(compiled(tmp_path, text))
