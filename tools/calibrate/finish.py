"""How every `solve` ends: the verdict printed and written, a report drawn, an exit code."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from calibration.verdict import Verdict
from runtime.errors import ConfigError
from tools.calibrate.page import Page, shown, write_page
from tools.report import write_whole


def add_output(parser: argparse.ArgumentParser) -> None:
    """`--out`, `--report` and `--json` of a solve."""
    parser.add_argument("--out", type=Path, metavar="F", help="write the verdict to this JSON file")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="F.html",
        help="write the report: one file, no network needed",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")  # fmt: skip


def check_output(args: argparse.Namespace) -> None:
    """Refuse a place that cannot be written before the work, not after it."""
    for name in ("out", "report"):
        path: Path | None = getattr(args, name, None)
        if path is None:
            continue
        same = [n for n, v in vars(args).items() if n != name and isinstance(v, Path) and v.resolve() == path.resolve()]  # fmt: skip
        if same and (path.is_file() or not path.exists()):
            raise ConfigError(
                f"--{name} {path} is --{same[0]} too, and would be written over; give another file"
            )
        if path.is_dir():
            raise ConfigError(f"--{name} {path} is a folder; give a file in it")
        if not path.parent.is_dir():
            raise ConfigError(f"--{name} {path}: no folder {path.parent}; make it first")


def finish(args: argparse.Namespace, verdict: Verdict, draw: Callable[[], Page]) -> int:
    """Print, write and draw; the exit code. `--out` is written for every verdict, marked."""
    text = msgspec.json.format(msgspec.json.encode(verdict, enc_hook=plain), indent=2).decode()
    if args.out is not None:
        write_whole(args.out, text + "\n")
    if args.report is not None:
        write_page(args.report, verdict, draw())
    if args.json:
        print(text)
    else:
        print("\n".join(said(verdict)))
        for label, path in (("result", args.out), ("report", args.report)):
            if path is not None:
                print(f"{label}: {path}")
    return verdict.exit_code


def said(verdict: Verdict) -> list[str]:
    """The verdict in a terminal: the word, its cause, what to do, and the figures."""
    lines = [f"{verdict.verdict}: {verdict.cause}", f"next: {verdict.next}"]
    lines += [f"also: {f['cause']}" for f in verdict.findings[1:]]
    for title, values in (("result", verdict.result), ("quality", verdict.quality)):
        lines += [f"{title} {key}: {shown(value)}" for key, value in values.items()]
    return lines


def plain(value: Any) -> Any:
    """What numpy gives, as JSON knows them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(type(value).__name__)


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the SHA-256 of every file, in the order given."""
    total = hashlib.sha256()
    for path in paths:
        one = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                one.update(block)
        total.update(one.digest())
    return total.hexdigest()


class Step:
    """Progress of long work on one line of a terminal's stderr; silent where nobody looks."""

    def __init__(self, text: str, total: int) -> None:
        self._text, self._total, self._done = text, total, 0
        self._began = time.monotonic()
        self._live = sys.stderr.isatty()

    def __call__(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        if self._live:
            end = "\n" if self._done >= self._total else ""
            left = (time.monotonic() - self._began) / self._done * (self._total - self._done)
            print(
                f"\r{self._text} {self._done}/{self._total}, {left:.0f} s left  ",
                end=end,
                file=sys.stderr,
                flush=True,
            )
