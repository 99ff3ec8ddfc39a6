"""Fuzzers over framing, the MCU core and the host's decoder; the core's tests under ASan and UBSan."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.build import build, compilers
from firmware_bridge.native import LIBRARY

pytestmark = pytest.mark.heavy
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEAST_BYTES = 10_000_000  # through message parsers; framing alone comes on top
SANITIZED = replace(
    LIBRARY,
    flags=(*LIBRARY.flags, "-g", "-O1", "-fsanitize=address,undefined,bounds-strict,float-cast-overflow",
           "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
)  # fmt: skip
SANITIZED_TESTS = (
    "test_core*.py",
    "test_codec.py",
    "test_plant.py",
    "test_limits.py",
    "test_ring.py",
)


def load_fuzz():
    spec = importlib.util.spec_from_file_location("fuzz", HERE / "fuzz" / "fuzz.py")
    module = sys.modules["fuzz"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = load_fuzz()


@pytest.fixture(scope="module")
def outcomes(table, tmp_path_factory):
    """Every target, two at a time."""
    if fuzz.compiler() is None:
        pytest.skip("fuzzing needs clang with libFuzzer: apt install clang libclang-rt-dev")
    folder = tmp_path_factory.mktemp("fuzz")
    programs = {t: fuzz.build(t, table, folder) for t in fuzz.TARGETS}
    with ThreadPoolExecutor(2) as pool:
        runs = {t: pool.submit(fuzz.run, p, t, folder) for t, p in programs.items()}
    return {t: run.result() for t, run in runs.items()}


@pytest.mark.parametrize("target", fuzz.TARGETS, ids=lambda t: t.name)
def test_no_finding(outcomes, target):
    outcome = outcomes[target]
    print(f"{target.name}: {outcome.bytes:,} bytes in {outcome.runs:,} runs")
    assert outcome.code == 0, outcome.words
    assert outcome.runs > 1000


def test_enough_was_fed(outcomes):
    assert sum(o.bytes for t, o in outcomes.items() if t.name != "frame") >= LEAST_BYTES


@pytest.mark.parametrize("target", fuzz.TARGETS, ids=lambda t: t.name)
def test_the_corpus_is_kept_and_small(target):
    seeds = list(target.seeds.iterdir())
    assert 10 <= len(seeds) <= 40
    assert all(s.stat().st_size <= target.max_len for s in seeds)


def sanitizer() -> str | None:
    """gcc's AddressSanitizer, to be loaded before Python."""
    if compilers()[:1] != [["cc"]]:
        return None
    asked = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True)
    path = Path(asked.stdout.strip())
    return str(path.resolve()) if path.is_absolute() and path.exists() else None


def test_the_cores_tests_find_nothing_under_sanitizers():
    asan = sanitizer()
    if asan is None:
        pytest.skip("needs gcc's libasan: apt install gcc")
    environment = {
        **os.environ,
        "COMPANION_LIBRARY": str(build(SANITIZED)),
        "LD_PRELOAD": asan,
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    files = [str(p) for pattern in SANITIZED_TESTS for p in sorted(HERE.glob(pattern))]
    files += [str(p) for p in sorted((ROOT / "tests" / "runtime").glob("test_gate*.py"))]
    command = [sys.executable, "-m", "pytest", "-n", "2", "-m", "not heavy", "-q", *files]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "runtime error" not in run.stdout + run.stderr
