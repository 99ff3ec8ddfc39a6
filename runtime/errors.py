"""Errors of the runtime package: each message says what was asked, what was found, what to do."""

from __future__ import annotations


class RuntimeFault(Exception):
    """Root of the runtime's errors; tools print the message and exit 1."""


class ConfigError(RuntimeFault):
    """A configuration or body file is wrong; tools print the message and exit 2."""


class ChannelError(RuntimeFault):
    """A channel was used against its table row."""
