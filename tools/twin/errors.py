"""Errors of the twin: each message says what was asked, what was found, what to do."""

from __future__ import annotations


class TwinError(Exception):
    """The twin cannot be built for this body or scene; tools print the message and exit 1."""
