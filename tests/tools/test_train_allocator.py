"""Memory that stays: a large array's pages are faulted in once, not at every use."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from tools.train.allocator import keep_memory
kept = keep_memory() if sys.argv[1] == "keep" else False
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 24, np.uint8)
before = faults()
for _ in range(20):
    np.ones(1 << 26, np.uint8)  # 64 MB, more than glibc ever keeps by itself
print(int(kept), faults() - before)
"""


def test_a_large_array_is_mapped_once() -> None:
    def run(how: str) -> tuple[int, int]:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True
        )
        kept, faults = map(int, done.stdout.split())
        return kept, faults

    kept, few = run("keep")
    if not kept:
        pytest.skip("this C library's malloc has no such switch")
    _, many = run("leave")
    assert few < many / 5, (few, many)
