"""`companion flash` where no emulator is needed: what it says when nothing of ours answers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def silent_port() -> Iterator[str]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def companion(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.companion", *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=60, stdin=subprocess.DEVNULL
    )


@pytest.mark.heavy  # two tries of five seconds
def test_a_port_on_which_nothing_answers_is_one_sentence(silent_port):
    """In a process of its own: the SMP library logs each timeout, and pytest would catch that."""
    result = companion("flash", "--port", silent_port)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "no update server answers" in result.stderr
