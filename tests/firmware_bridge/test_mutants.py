"""Every operator, constant and condition of limits, watchdog and mode code matters to some test.

The whole hunt takes five minutes. As long as neither the code nor its hunters have changed since the
last whole one (`mutants.sha256`), every fifth mutant is hunted; MUTANTS=all hunts all of them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mutants import MUTATED, mutants

from firmware_bridge.build import SOURCES, compilers

pytestmark = pytest.mark.heavy
HERE = Path(__file__).parent
SHARES = 2
SAMPLE = 5
HUNTED = HERE / "mutants.sha256"  # of what was hunted whole
# Mutants that are the same program, each with the reason; a minimum or a magnitude at its tie is left out by rule
EQUIVALENT = {
    ("limits.c", "sign < 0", "sign <= 0"): "without a sign the size is 0",
    ("limits.c", "sign < 0", "sign < 1"): "without a sign the size is 0",
    ("limits.c", "result = 0", "result = 1"): "x < 2^62: the first step shifts it out",
    (
        "limits.c",
        "most * most > limit",
        "most * most >= limit",
    ): "the root of the square is the same",
    (
        "core.c",
        "late > c->counters.late_max_us",
        "late >= c->counters.late_max_us",
    ): "set to what it is",
    (
        "core_sense.c",
        "c->brown_out < BROWN_OUT_TICKS",
        "c->brown_out <= BROWN_OUT_TICKS",
    ): "saturates one further up",
    ("core_sense.c", "speed < w->least", "speed <= w->least"): "set to what it is",
    ("core_sense.c", "way < 0", "way <= 0"): "without current or command nothing is compared",
    ("core_sense.c", "way < 0", "way < 1"): "without current or command nothing is compared",
    (
        "core_sense.c",
        "HEARTBEAT_LATE : 0",
        "HEARTBEAT_LATE : 1",
    ): "a host that is not silent has that bit, SESSION",
    ("core_host.c", "quiet_us = 0", "quiet_us = 1"): "no message comes in the first microsecond",
    ("core_host.c", "length < 0", "length <= 0"): "no body is empty",
    ("core_host.c", "length < 0", "length < 1"): "no body is empty",
}


def digest() -> str:
    """Of the code, of what its constants come from, and of everything that hunts."""
    root = HERE.parents[1]
    files = [*SOURCES.glob("*.[ch]"), *HERE.glob("test_core*.py"), *HERE.glob("*.py")]
    files += [root / "firmware_bridge" / n for n in ("protocol.py", "header.py", "limits.py", "plant.py")]  # fmt: skip
    files += [root / "tests" / "runtime" / n for n in ("test_gate.py", "test_gate_states.py")]
    files += [root / "runtime" / "gate.py", *(root / "runtime" / "bodies").glob("*.toml")]
    total = hashlib.sha256()
    for file in sorted({f.resolve() for f in files} - {Path(__file__).resolve()}):
        total.update(f"{file.relative_to(root)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())  # fmt: skip
    return total.hexdigest()


EVERY = SAMPLE if os.environ.get("MUTANTS") != "all" and HUNTED.read_text().strip() == digest() else 1  # fmt: skip


def is_equivalent(file: str, before: str, after: str) -> bool:
    return any(
        f == file and was in before and before.replace(was, becomes, 1) == after
        for f, was, becomes in EQUIVALENT
    )


@pytest.fixture(scope="module")
def hunted(tmp_path_factory) -> list[dict]:
    """What became of each mutant; two hunters at once."""
    if not compilers() or importlib.util.find_spec("_pytest") is None:
        pytest.skip("mutants need a C compiler: apt install gcc")
    folder = tmp_path_factory.mktemp("mutants")
    root = HERE.parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "MUTANTS_EVERY": str(EVERY)}
    kill = [sys.executable, str(HERE / "kill.py")]
    hunters = [
        subprocess.Popen(
            [*kill, str(folder / str(share))],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for share in range(SHARES)
    ]
    with ThreadPoolExecutor(
        SHARES
    ) as pool:  # one after the other, the second would wait at a full pipe
        said = list(pool.map(lambda hunter: hunter.communicate()[0], hunters))
    return [json.loads(line) for text in said for line in text.splitlines() if line.startswith("{")]


def test_the_original_passes_what_hunts_the_mutants(hunted):
    """Built with traps on undefined behaviour: the core's tests meet none."""
    assert [r["result"] for r in hunted if r["name"] == "original"] == ["agrees"] * SHARES


def test_every_mutant_dies(hunted):
    prey = [r for r in hunted if r["name"] != "original"]
    made = {m.key for m in [m for file in MUTATED for m in mutants(file)][::EVERY]}
    assert {tuple(r["key"]) for r in prey} == made
    alive = [r for r in prey if r["result"] == "survived" and not is_equivalent(*r["key"])]
    dead = sum(r["result"].startswith("killed") for r in prey)
    same = sum(r["result"] == "same program" for r in prey)
    print(
        f"{len(prey)} mutants: {dead} killed, {same} compile to the same program, {len(alive)} alive"
    )
    assert dead > 900 / EVERY
    said = [r["name"] for r in alive]
    assert not alive, "\n".join(said)
    if EVERY == 1 and HUNTED.read_text().strip() != digest():
        print(f"all are dead: write {digest()} into {HUNTED.name}")


def test_equivalents_are_still_what_the_code_says(hunted):
    """An entry that no survivor needs is to go."""
    if EVERY > 1:
        pytest.skip("told by a whole hunt")
    alive = [r["key"] for r in hunted if r.get("result") == "survived"]
    unused = [
        e for e in EQUIVALENT
        if not any(k[0] == e[0] and e[1] in k[1] and k[1].replace(e[1], e[2], 1) == k[2] for k in alive)
    ]  # fmt: skip
    assert not unused
