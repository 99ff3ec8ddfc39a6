"""`companion firmware build`: the MCU's core for this machine."""

from __future__ import annotations

import argparse

from firmware_bridge import protocol
from firmware_bridge.build import compilers
from firmware_bridge.host import host_program
from firmware_bridge.native import library
from runtime.body import load_body


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options."""
    parser.add_argument("--body", default="companion", help="body whose limits are compiled in")
    parser.add_argument(
        "--target",
        choices=("host",),
        default="host",
        help="host: a process on a pty, and the library for lockstep",
    )


def main(args: argparse.Namespace) -> int:
    """Build what is not there yet."""
    table = load_body(args.body).limit_table()
    found = compilers()
    print(f"compiler: {' '.join(found[0]) if found else 'none'}")
    print(f"library:  {library()._name}")
    print(f"process:  {host_program(table)}")
    print(f"schema {protocol.schema_crc():08x}, layout {table.crc():08x} ({table.body})")
    return 0
