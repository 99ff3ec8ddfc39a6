"""What a calibration is worth: PASS, MARGINAL or FAIL, with one cause and one next action.

A solver gives numbers; its gates turn them into findings; the worst finding speaks. Every tool ends
here, so that no tool can print a residual and call it a success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Level = Literal["PASS", "MARGINAL", "FAIL"]
RANK: dict[Level, int] = {"PASS": 0, "MARGINAL": 1, "FAIL": 2}
EXIT: dict[Level, int] = {"PASS": 0, "MARGINAL": 3, "FAIL": 1}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that speaks against a result: what was found (with figures), and what to do."""

    level: Level
    cause: str
    next: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The end of every calibration; `result` holds a `std` beside its parameters."""

    tool: str
    verdict: Level
    cause: str
    next: str
    result: dict[str, Any]
    quality: dict[str, Any]
    inputs_sha256: str
    device: str = ""  # serial of what was recorded, where the recording says
    findings: list[dict[str, str]] = []  # all of them, the worst first

    @property
    def exit_code(self) -> int:
        """0 PASS, 3 MARGINAL, 1 FAIL."""
        return EXIT[self.verdict]


def judged(
    tool: str,
    result: dict[str, Any],
    quality: dict[str, Any],
    findings: Sequence[Finding],
    inputs_sha256: str,
    device: str = "",
    next_when_good: str = "install it",
    cause_when_good: str = "every check passed",
) -> Verdict:
    """A verdict: as bad as the worst finding, which gives the cause; the first of equals speaks."""
    ordered = sorted(findings, key=lambda f: -RANK[f.level])
    worst = ordered[0] if ordered else Finding("PASS", cause_when_good, next_when_good)
    return Verdict(
        tool=tool,
        verdict=worst.level,
        cause=worst.cause,
        next=worst.next,
        result=result,
        quality=quality,
        inputs_sha256=inputs_sha256,
        device=device,
        findings=[{"level": f.level, "cause": f.cause, "next": f.next} for f in ordered],
    )
