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
size = 1 << 26  # bytes, more than glibc ever keeps by itself
np.ones(size, np.uint8)  # its first use faults either way: by page, or by huge page where there are
before = faults()
for _ in range(20):
    np.ones(size, np.uint8)
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
