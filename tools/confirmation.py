"""One question before something that cannot be taken back."""

from __future__ import annotations

import sys

from runtime.errors import ConfigError


def ask_once(question: str, yes: bool) -> None:
    """One confirmation; ConfigError when it is not given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody can answer here; give --yes")
    if answer(f"{question} Type yes: ") != "yes":
        raise ConfigError("not confirmed, nothing was done")


def answer(question: str) -> str:
    """What is typed, in small letters; Ctrl-D is no answer. On stderr: stdout may be a script's."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower()
