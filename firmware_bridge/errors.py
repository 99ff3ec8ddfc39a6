"""Errors of the bridge: each message says what was asked, what was found, what to do.

BridgeError
    BuildError      the native code cannot be built or loaded
    LimitError      a limit table does not fit the wire or the fixed point
    MemoryMismatch  a shared memory block is not what its reader expects
    LinkError       a port cannot be opened, or what answers there is no MCU of ours
      FirmwareMismatch  it is one, with other firmware than this host's
    BoardError      a board file is wrong, or does not carry the body it is asked for
    ImageError      a firmware image, its signature or its key is not what was asked for
    UpdateError     an update was refused or did not go through
      LinkLost        nobody answered, or no longer
"""

from __future__ import annotations


class BridgeError(Exception):
    """Root of the bridge's errors."""


class BuildError(BridgeError):
    """The native code cannot be built or loaded."""


class LimitError(BridgeError):
    """A limit table does not fit the wire or the fixed point."""


class MemoryMismatch(BridgeError):
    """A shared memory block is not what its reader expects."""


class LinkError(BridgeError):
    """A port cannot be opened, or what answers there is no MCU of ours."""


class FirmwareMismatch(LinkError):
    """An MCU of ours answers, and its firmware is not this host's: `companion flash` mends it."""


class BoardError(BridgeError):
    """A board file is wrong, or does not carry the body it is asked for."""


class ImageError(BridgeError):
    """A firmware image, its signature or its key is not what was asked for."""


class UpdateError(BridgeError):
    """An update was refused or did not go through; the message names the reason."""


class LinkLost(UpdateError):
    """The board's update server did not answer, or no longer."""
