"""Keys and signed images: MCUboot format, made and checked by imgtool.

The development key lies in the repository, so anybody can sign with it; a release refuses it.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from firmware_bridge.board import Board
from firmware_bridge.build import SOURCES
from firmware_bridge.errors import ImageError

DEVELOPMENT_KEY = SOURCES / "keys" / "DEVELOPMENT_KEY.pem"
HEADER_SIZE = 512
HEADER = struct.Struct("<IIHHIIBBHII")  # MCUboot image_header
MAGIC = 0x96F3B83D
TLV_SHA256, TLV_HARDWARE, TLV_KEY_HASH = 0x10, 0xA0, 0x01
VERSION = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\+(\d{1,9}))?")
VERSION_MAX = (255, 255, 65535, 999_999_999)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What a loader holds: 32 bytes, and the hash of its DER form as images carry it."""

    raw: bytes
    der_hash: bytes

    @property
    def fingerprint(self) -> str:
        """How people name it."""
        return self.der_hash[:8].hex()

    @property
    def is_development(self) -> bool:
        """Whether everybody has the private half."""
        return DEVELOPMENT_KEY.is_file() and self.raw == load_key(DEVELOPMENT_KEY).raw

    def header(self) -> str:
        """key_gen.h."""
        return (
            "/* Generated; do not edit. */\n#ifndef COMPANION_KEY_GEN_H\n#define COMPANION_KEY_GEN_H\n"
            "#include <stdint.h>\n"
            f"static const uint8_t KEY_PUBLIC[32] = {{{', '.join(map(str, self.raw))}}};\n"
            f"static const uint8_t KEY_HASH[32] = {{{', '.join(map(str, self.der_hash))}}};\n#endif\n"
        )


NO_KEY = {  # what a PEM file is instead
    b"PUBLIC KEY": "the public half, which signs nothing",
    b"ENCRYPTED": "locked with a password, which nobody can type here",
}


def load_private(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 private key in PEM; ImageError says what is wrong with the file."""
    data = b""
    try:
        data = path.read_bytes()
        key = load_pem_private_key(data, None)
    except OSError as error:
        raise ImageError(
            f"key {path}: {error.strerror}; make one with `companion firmware keygen {path}`"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = next(
            (said for mark, said in NO_KEY.items() if mark in data), "no private key in PEM"
        )
        raise ImageError(
            f"key {path}: {what}; give an Ed25519 private key, as `companion firmware keygen` makes"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ImageError(f"key {path}: no Ed25519 key; make one with `companion firmware keygen`")
    return key


def public_of(key: Ed25519PublicKey) -> PublicKey:
    """Both forms of a public key."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(key.public_bytes(Encoding.Raw, PublicFormat.Raw), hashlib.sha256(der).digest())


def load_key(path: Path) -> PublicKey:
    """The public half of a private key file."""
    return public_of(load_private(path).public_key())


def generate_key(path: Path) -> PublicKey:
    """A new private key, readable by its owner alone; an existing file is never overwritten."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ImageError(f"key {path}: there is one already; give another name") from error
    except OSError as error:
        raise ImageError(f"key {path}: cannot be written ({error.strerror})") from error
    with os.fdopen(fd, "wb") as file:
        file.write(pem)
    return public_of(key.public_key())


def check_version(version: str) -> None:
    """ImageError where an image cannot carry it."""
    found = VERSION.fullmatch(version)
    numbers = [int(n or 0) for n in found.groups()] if found else []
    if not found or any(n > most for n, most in zip(numbers, VERSION_MAX, strict=True)):
        raise ImageError(
            f"version {version}: give MAJOR.MINOR.PATCH, as 1.4.0 or 1.4.0+7, up to 255.255.65535"
        )


def check_program(body: bytes, board: Board) -> None:
    """ImageError where it cannot be a program of this board: its vectors point elsewhere."""
    if len(body) >= HEADER.size and HEADER.unpack_from(body)[0] == MAGIC:
        raise ImageError("it is a signed image already; sign the application.bin of a build")
    stack, reset = struct.unpack_from("<II", body) if len(body) >= 8 else (0, 0)
    (code, size), (ram, ram_size) = board.memory.app_exec, board.memory.app_ram
    if not (ram < stack <= ram + ram_size and code <= reset < code + size and reset & 1):
        raise ImageError(
            f"it is no program for {board.name} ({len(body)} bytes, its vectors point outside this "
            "board's memory); give the application.bin of a build for it"
        )


def sign(body: bytes, board: Board, version: str, key: Path, out: Path) -> None:
    """Wrap and sign a program with imgtool; `out` appears whole or not at all."""
    check_version(version)
    load_private(key)  # a wrong key is one sentence of ours
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        plain, signed = Path(scratch) / "plain.bin", Path(scratch) / "signed.bin"
        plain.write_bytes(body)
        command = [
            sys.executable, "-m", "imgtool.main", "sign", "--key", str(key), "--sha", "256",
            "--header-size", str(HEADER_SIZE), "--pad-header", "--align", "4",
            "--version", version, "--slot-size", str(board.nvm.slot_size),
            "--load-addr", hex(board.memory.app_exec[0]),
            "--custom-tlv", hex(TLV_HARDWARE), board.hardware, str(plain), str(signed),
        ]  # fmt: skip
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired as error:
            raise ImageError("imgtool did not come to an end within 60 s; try again") from error
        if result.returncode:
            said = (result.stderr.strip() or result.stdout.strip()).splitlines()
            raise ImageError(f"imgtool did not sign: {said[-1] if said else 'no word'}")
        os.replace(signed, out)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A signed image as a file tells it; the loader judges it again."""

    path: Path
    data: bytes
    version: tuple[int, int, int, int]
    hardware: str
    sha256: bytes
    key_hash: bytes

    @property
    def version_text(self) -> str:
        """As `companion flash` and the loader print it."""
        major, minor, patch, build = self.version
        return f"{major}.{minor}.{patch}" + (f".{build}" if build else "")


def read_image(path: Path) -> ImageFile:
    """Read and check a signed image's structure and hash; ImageError says what is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"image {path}: {error.strerror}; build one with `make firmware`"
        ) from error
    what = f"image {path.name}"
    if len(data) < HEADER_SIZE or HEADER.unpack_from(data)[0] != MAGIC:
        found = f"{len(data)} bytes that begin with no image header" if data else "an empty file"
        raise ImageError(
            f"{what}: no signed firmware image but {found}; `make firmware` builds one, "
            "`companion firmware sign` signs a program"
        )
    _, _, header, protected, size, _, *version = HEADER.unpack_from(data)
    signed = header + size + protected
    if len(data) < signed + 4:
        raise ImageError(
            f"{what}: truncated, {len(data)} of {signed + 4} bytes and more; fetch it again"
        )
    tlvs = _tlvs(data, header + size, protected) | _tlvs(data, signed, len(data) - signed)
    if hashlib.sha256(data[:signed]).digest() != tlvs.get(TLV_SHA256):
        raise ImageError(f"{what}: damaged, its hash differs; fetch it again")
    if TLV_HARDWARE not in tlvs or TLV_KEY_HASH not in tlvs:
        raise ImageError(
            f"{what}: says neither board nor key; build it with `companion firmware build`"
        )
    hardware = tlvs[TLV_HARDWARE].decode("ascii", "replace")
    numbers = (version[0], version[1], version[2], version[3])
    return ImageFile(path, data, numbers, hardware, tlvs[TLV_SHA256], tlvs[TLV_KEY_HASH])


def _tlvs(data: bytes, start: int, size: int) -> dict[int, bytes]:
    """Type to value of one TLV area (MCUboot design, "Image format"); what is cut short is left out."""
    found: dict[int, bytes] = {}
    at, end = start + 4, min(start + size, len(data))
    if size >= 4:
        end = min(end, start + int(struct.unpack_from("<H", data, start + 2)[0]))
    while at + 4 <= end:
        kind, length = struct.unpack_from("<HH", data, at)
        found[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return found
