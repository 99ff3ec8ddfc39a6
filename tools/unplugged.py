"""The port of a run without a body (a recording): nothing comes, and what is sent goes nowhere."""

from __future__ import annotations


class Unplugged:
    """A transport that nobody answers."""

    def read_into(self, buffer: memoryview) -> int:
        """Nothing."""
        return 0

    def write(self, data: memoryview) -> int:
        """Swallow."""
        return len(data)

    def fileno(self) -> int | None:
        """There is no file."""
        return None

    def reopen(self) -> bool:
        """Always open."""
        return True

    def close(self) -> None:
        """Nothing to close."""
