"""What plays an episode: a hash over code and tables, so that what others recorded is not taken for ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Figures, tables and pictures come from what is recorded; they are no part of it.
PLAYS = (
    "calibration/**/*.py", "firmware_bridge/**/*.py", "firmware_bridge/**/*.[ch]", "models/*.py",
    "runtime/**/*.py", "runtime/**/*.toml", "tools/twin/**/*", "tools/compose.py", "tools/in_force.py",
    "tools/lockstep_run.py", "tools/train/collect.py", "tools/train/labels.py", "tools/watched.py",
    "tools/unplugged.py", "tools/evaluate/context.py", "tools/evaluate/episodes.py",
    "tools/evaluate/open_loop.py", "tools/evaluate/surprise.py",
)  # fmt: skip


def code_sha(more: tuple[str, ...] = ()) -> str:
    """SHA-256 of all that plays an episode or makes a row of it, and of the files `more` matches."""
    total = hashlib.sha256()
    files = {f for place in (*PLAYS, *more) for f in ROOT.glob(place) if f.is_file()}
    for file in sorted(f for f in files if "__pycache__" not in f.parts):
        total.update(file.read_bytes())
    return total.hexdigest()
