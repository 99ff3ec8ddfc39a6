"""A firmware that runs as a process beside us, behind a pty: `host.py`, `qemu.py`."""

from __future__ import annotations

import subprocess


class FirmwareProcess:
    """A running firmware; `port` is its serial port."""

    process: subprocess.Popen[bytes]
    port: str

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def stop(self, timeout_s: float = 2.0) -> int:
        """Ask it to end, motors off; returns its exit code."""
        self.process.terminate()
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self._close()
        return code

    def kill(self) -> None:
        """Kill it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        """Let go of what belongs to the process that has ended."""
