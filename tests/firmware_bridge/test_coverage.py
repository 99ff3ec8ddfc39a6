"""Every line of limits, watchdog and mode code runs in the core's own tests, by gcov."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.build import build, compilers
from firmware_bridge.native import LIBRARY

pytestmark = pytest.mark.heavy
COVERED = ("limits.c", "core.c", "core_sense.c", "core_host.c", "core_param.c", "core_report.c")
ROOT = Path(__file__).parents[2]
TESTS = ("tests/firmware_bridge/test_core*.py", "tests/runtime/test_gate*.py")
WITH_COVERAGE = replace(LIBRARY, flags=(*LIBRARY.flags, "--coverage", "-O0"))


@pytest.fixture(scope="module")
def counts(tmp_path_factory) -> dict[str, dict[int, int]]:
    """Times each line ran, by file."""
    if shutil.which("gcov") is None or compilers()[:1] != [["cc"]]:
        pytest.skip("coverage needs gcc and gcov: apt install gcc")
    library, data = build(WITH_COVERAGE), tmp_path_factory.mktemp("coverage")
    files = [str(p) for pattern in TESTS for p in sorted(ROOT.glob(pattern))]
    command = [sys.executable, "-m", "pytest", "-n", "0", "-m", "not heavy", "-q", *files]
    environment = {**os.environ, "COMPANION_LIBRARY": str(library), "GCOV_PREFIX": str(data)}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]
    notes = {p.stem: p for p in library.parent.glob("*.gcno")}
    for found in list(data.rglob("*.gcda")):  # gcov wants both beside each other
        shutil.copy(found, data / found.name)
        shutil.copy(notes[found.stem], data)
    names = [p.name for p in data.glob("*.gcda")]
    subprocess.run(["gcov", "--json-format", *names], cwd=data, check=True, capture_output=True)
    return read_counts(data)


def read_counts(folder: Path) -> dict[str, dict[int, int]]:
    out: dict[str, dict[int, int]] = {}
    for path in folder.glob("*.gcov.json.gz"):
        for file in json.loads(gzip.decompress(path.read_bytes()))["files"]:
            lines = out.setdefault(Path(file["file"]).name, {})
            for line in file["lines"]:
                number = line["line_number"]
                lines[number] = max(lines.get(number, 0), line["count"])
    return out


@pytest.mark.parametrize("file", COVERED)
def test_every_line_runs(counts, file):
    lines = counts[file]
    missed = sorted(number for number, count in lines.items() if count == 0)
    share = 1 - len(missed) / len(lines)
    print(f"{file}: {len(lines)} lines, {100 * share:.1f} % run")
    assert len(lines) > 20
    assert not missed, f"{file}: no test runs line {', '.join(map(str, missed))}"
