"""Errors of the calibration package: each message says what was asked, found, and to do."""

from __future__ import annotations


class CalibrationError(Exception):
    """Root of the calibration package's errors; tools print the message and exit 1."""


class LensError(CalibrationError):
    """A lens model that cannot be inverted over the image it claims to describe."""


class RecordError(CalibrationError):
    """A calibration record is missing, damaged, of another schema or of another device."""


class DataError(CalibrationError):
    """Recorded data cannot be what it is said to be: a wrong file, unit, board or column."""
