"""Argument types of the command line: what is no such number is refused with a sentence."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no count; give 1 or more")
    return int(text)


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 on, by commas."""
    return tuple(count(part) for part in text.split(","))


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time; give seconds, more than 0")
    return value


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number from `least` to `most`, for argparse."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text} is no whole number from {least} to {most}; give one"
            )
        return int(text)

    return parse
