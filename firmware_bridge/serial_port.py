"""A serial port (or pty) as a transport: exclusive, raw, non-blocking."""

from __future__ import annotations

import contextlib
import errno
import os
import termios

from firmware_bridge.errors import LinkError


class SerialTransport:
    """A serial port (or pty), opened exclusively; LinkError says why it cannot be."""

    def __init__(self, port: str, baud: int = 921_600) -> None:
        self.port = port
        self.baud = baud
        self._fd = -1
        self._open()

    def _open(self) -> None:
        import serial  # only real ports need it

        try:
            self._serial = serial.Serial(self.port, self.baud, timeout=0, exclusive=True)
            self._fd = self._serial.fileno()
            os.set_blocking(self._fd, False)
            settings = termios.tcgetattr(self._fd)
            settings[6][termios.VMIN] = 1  # so that reading nothing means unplugged, not empty
            termios.tcsetattr(self._fd, termios.TCSANOW, settings)
            self._serial.reset_input_buffer()
        # serial.SerialException is an OSError, termios.error is none: a plug may bounce
        except (OSError, ValueError, termios.error) as error:
            self.close()
            raise LinkError(_why_not(self.port, error)) from error

    def read_into(self, buffer: memoryview) -> int:
        """Read what is there; OSError when the port is gone."""
        try:
            size = os.readv(self._fd, [buffer])
        except BlockingIOError:
            return 0
        if size == 0:
            raise OSError(errno.EIO, f"port {self.port} ended")
        return size

    def write(self, data: memoryview) -> int:
        """Write what the port takes now."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0

    def fileno(self) -> int | None:
        """The port's file descriptor."""
        return self._fd if self._fd >= 0 else None

    def reopen(self) -> bool:
        """Open again; False while the port is still missing."""
        self.close()
        try:
            self._open()
        except LinkError:
            return False
        return True

    def close(self) -> None:
        """Close and unlock the port."""
        if self._fd >= 0:
            self._fd = -1
            with contextlib.suppress(OSError, termios.error):  # it is gone all the same
                self._serial.close()


def _why_not(port: str, error: Exception) -> str:
    """Asked, found, do this."""
    number = getattr(error, "errno", None)
    text = str(error)
    if number == errno.ENOENT or (number is None and not os.path.exists(port)):
        return f"port {port}: there is no such port; `companion doctor` lists what is plugged in"
    if number in (errno.EBUSY, errno.EAGAIN) or "lock" in text:
        return f"port {port}: busy, another program holds it; stop that one first"
    if number in (errno.EACCES, errno.EPERM):
        return f"port {port}: no permission; add the user to the group `dialout` and log in again"
    return f"port {port}: cannot be opened as a serial port ({text}); name a serial device or pty"
