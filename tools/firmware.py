"""`companion firmware build|sign|keygen`: the MCU's program, its signature, its keys."""

from __future__ import annotations

import argparse
import shutil
from importlib import metadata
from pathlib import Path

from firmware_bridge import protocol
from firmware_bridge.board import board_names, load_board
from firmware_bridge.build import compilers
from firmware_bridge.errors import ImageError
from firmware_bridge.host import host_program
from firmware_bridge.limits import LimitTable
from firmware_bridge.native import library
from firmware_bridge.package import Firmware, build_firmware
from firmware_bridge.signing import (
    DEVELOPMENT_KEY,
    check_program,
    generate_key,
    load_key,
    read_image,
    sign,
)
from runtime.body import load_body
from runtime.errors import ConfigError

KEY_HELP = "Ed25519 private key in PEM (default: the public development key)"


def product_version() -> str:
    """What images are called by default."""
    return metadata.version("companion-controller")


def add_build(parser: argparse.ArgumentParser) -> None:
    """Options of `firmware build`."""
    parser.add_argument("--body", default="companion", help="body whose limits are compiled in")
    parser.add_argument(
        "--target",
        choices=("host", *board_names()),
        default="host",
        help="host: a process on a pty, and the library for lockstep; or a board (default: host)",
    )
    parser.add_argument(
        "--version",
        default=product_version(),
        metavar="X.Y.Z",
        help="of the image (default: the product's)",
    )
    parser.add_argument("--key", type=Path, default=DEVELOPMENT_KEY, metavar="PEM", help=KEY_HELP)
    parser.add_argument("--release", action="store_true", help="refuse the development key")
    parser.add_argument(
        "--out", type=Path, default=None, metavar="DIR", help="also copy the files there"
    )


def build(args: argparse.Namespace) -> int:
    """Build what is not there yet."""
    table = load_body(args.body).limit_table()
    if args.target == "host":
        return _build_host(table)
    board = load_board(args.target)
    if args.release and load_key(args.key).is_development:
        raise ConfigError(
            "--release with the development key, which anybody has; make your own with "
            "`companion firmware keygen PEM` and give --key PEM"
        )
    done = build_firmware(board, table, args.version, args.key)
    _tell(done, args.key)
    if args.out is not None:
        _copy(done, args.out)
    if done.loader is None:
        print(f"the bootloader is missing, so nothing can be signed or flashed: {done.lacks}")
        return 1
    return 0


def _build_host(table: LimitTable) -> int:
    found = compilers()
    print(f"compiler: {' '.join(found[0]) if found else 'none'}")
    print(f"library:  {library()._name}")
    print(f"process:  {host_program(table)}")
    print(f"schema {protocol.schema_crc():08x}, layout {table.crc():08x} ({table.body})")
    return 0


def _tell(done: Firmware, key: Path) -> None:
    board = done.board
    print(
        f"board {board.name} ({board.hardware}), version {done.version}, schema {protocol.schema_crc():08x}"
    )
    for name, path in (
        ("program", done.program),
        ("loader", done.loader),
        ("image", done.image),
        ("factory", done.factory),
    ):
        if path is not None:
            print(f"{name:8} {path} ({path.stat().st_size} bytes)")
    public = load_key(key)
    if public.is_development:
        print("signed with the DEVELOPMENT key: for benches, not for robots among people")
    else:
        print(
            f"signed with key {public.fingerprint}; a board takes it where its loader holds that key"
        )


def _copy(done: Firmware, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in (done.program, done.loader, done.image, done.factory):
        if path is not None:
            shutil.copy2(path, folder / path.name)
    print(f"copied to {folder}")


def add_sign(parser: argparse.ArgumentParser) -> None:
    """Options of `firmware sign`."""
    parser.add_argument(
        "program", type=Path, nargs="?", metavar="PROGRAM", help="application.bin of a build"
    )
    parser.add_argument("--target", choices=board_names(), help="the board it is for")
    parser.add_argument(
        "--version", default=product_version(), metavar="X.Y.Z", help="of the image"
    )
    parser.add_argument("--key", type=Path, metavar="PEM", help="Ed25519 private key in PEM")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the signed image")


def sign_program(args: argparse.Namespace) -> int:
    """Sign a program for a board, on a machine that holds the key and not the compiler."""
    wanted = {
        "PROGRAM": args.program,
        "--target": args.target,
        "--key": args.key,
        "--out": args.out,
    }
    missing = [name for name, value in wanted.items() if value is None]
    if missing:
        raise ConfigError(
            f"firmware sign needs {', '.join(missing)}; as in `companion firmware sign "
            "application.bin --target stm32f405 --key mine.pem --out image.bin`"
        )
    try:
        program = args.program.read_bytes()
    except OSError as error:
        raise ImageError(
            f"program {args.program}: {error.strerror}; build one with `make firmware`"
        ) from error
    _check_out(args)
    try:
        check_program(program, load_board(args.target))
    except ImageError as error:
        raise ImageError(f"program {args.program}: {error}") from error
    sign(program, load_board(args.target), args.version, args.key, args.out)
    image = read_image(args.out)
    print(
        f"{args.out}: {image.hardware} {image.version_text}, {len(image.data)} bytes, key {image.key_hash[:8].hex()}"
    )
    return 0


def _check_out(args: argparse.Namespace) -> None:
    """ConfigError where the image would have no place, or take that of what it is made from."""
    if not args.out.parent.is_dir():
        raise ConfigError(f"--out: there is no folder {args.out.parent}; make it first")
    if args.out.is_dir():
        raise ConfigError(f"--out: {args.out} is a folder; give a file name")
    for what, path in (("the key", args.key), ("the program", args.program)):
        if args.out.exists() and path.exists() and args.out.samefile(path):
            raise ConfigError(f"--out: {args.out} is {what} itself; give another file name")


def add_keygen(parser: argparse.ArgumentParser) -> None:
    """Options of `firmware keygen`."""
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="PEM",
        help="where the private key goes (never overwritten)",
    )


def keygen(args: argparse.Namespace) -> int:
    """Make a signing key of one's own."""
    if args.file is None:
        raise ConfigError(
            "firmware keygen needs a file name; as in `companion firmware keygen mine.pem`"
        )
    public = generate_key(args.file)
    print(
        f"{args.file}: private key {public.fingerprint}; keep it off robots and out of repositories"
    )
    print(
        "boards take its images once their loader is built with it: companion firmware build --key"
    )
    return 0
