"""Bytes to SI units and back: the wire, the host link, the firmware's portable C; no AI."""
