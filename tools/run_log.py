"""The log of a run on disk: its name, and its parts where the recorder was restarted."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import numpy as np

from runtime.channels import Channel
from runtime.log import Arrays, read_log


def log_path(folder: Path) -> Path:
    """`YYYYMMDDTHHMMSSZ_PID.mcap` in a run's folder."""
    stem = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + f"_{os.getpid()}"
    path = folder / f"{stem}.mcap"
    for k in itertools.count(2):  # two runs of one program within a second
        if not path.exists():
            return path
        path = folder / f"{stem}_{k}.mcap"
    raise AssertionError


def parts(log: Path) -> list[Path]:
    """The log and what restarted recorders wrote after it, in order."""
    later = log.parent.glob(f"{log.stem}.part*{log.suffix}")
    return [p for p in (log,) if p.is_file()] + sorted(later)


def read_parts(log: Path, table: dict[str, Channel]) -> Arrays:
    """All records of a run; a restarted recorder finds some of them a second time in the rings."""
    records: Arrays = {}
    for part in parts(log):
        for name, rows in read_log(part, table).items():
            if name in records:
                fresh = rows[rows["t_ns"] > records[name]["t_ns"][-1]]
                records[name] = np.concatenate([records[name], fresh])
            else:
                records[name] = rows
    return records
