"""Every operator, constant and condition of limits, watchdog and mode code matters to some test."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mutants import MUTATED, mutants

from firmware_bridge.build import compilers

pytestmark = pytest.mark.heavy
HERE = Path(__file__).parent
SHARES = 2
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
    environment = {**os.environ, "PYTHONPATH": str(root)}
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
    made = {m.key for file in MUTATED for m in mutants(file)}
    assert {tuple(r["key"]) for r in prey} == made
    alive = [r for r in prey if r["result"] == "survived" and not is_equivalent(*r["key"])]
    dead = sum(r["result"].startswith("killed") for r in prey)
    same = sum(r["result"] == "same program" for r in prey)
    print(
        f"{len(prey)} mutants: {dead} killed, {same} compile to the same program, {len(alive)} alive"
    )
    assert dead > 900
    assert not alive, "\n".join(r["name"] for r in alive)


def test_equivalents_are_still_what_the_code_says(hunted):
    """An entry that no survivor needs is to go."""
    alive = [r["key"] for r in hunted if r.get("result") == "survived"]
    unused = [
        e for e in EQUIVALENT
        if not any(k[0] == e[0] and e[1] in k[1] and k[1].replace(e[1], e[2], 1) == k[2] for k in alive)
    ]  # fmt: skip
    assert not unused
