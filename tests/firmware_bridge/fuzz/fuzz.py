"""Builds and runs the fuzzers: one row per target; a new one is a harness, a row and some seeds."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from firmware_bridge.arm_build import UPDATE
from firmware_bridge.board import load_board
from firmware_bridge.board_header import board_header
from firmware_bridge.build import SOURCES
from firmware_bridge.header import limits_header, protocol_header
from firmware_bridge.limits import LimitTable
from firmware_bridge.native import CORE
from firmware_bridge.signing import DEVELOPMENT_KEY, load_key, sign
from firmware_bridge.sources import library_source

HERE = Path(__file__).parent
SANITIZERS = "fuzzer,address,undefined,float-cast-overflow"
FLAGS = ("-std=c11", "-g", "-O1", f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Target:
    """`fuzz_NAME.c` beside this file, with these sources of the firmware; seeds in `corpus/NAME/`."""

    name: str
    sources: tuple[str, ...]
    max_len: int
    seconds: int
    include: tuple[Path, ...] = ()
    libraries: tuple[str, ...] = ()  # of sources.toml; the loader's headers come with them

    @property
    def seeds(self) -> Path:
        return HERE / "corpus" / self.name


TARGETS = (  # two run at a time: the first as long as the others together
    Target("core", CORE, 400, 95),
    Target("host", ("host.c", "codec.c"), 512, 35),
    Target("frame", ("codec.c",), 1200, 25),
    Target(
        "smp",
        (*UPDATE, "boot/nvm_host.c"),
        600,
        35,
        (SOURCES / "boot", SOURCES / "boot" / "libsodium"),
        ("libsodium", "zcbor"),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What one run fed, and libFuzzer's last words."""

    code: int
    bytes: int
    runs: int
    words: str


def compiler() -> str | None:
    """clang with libFuzzer, or None."""
    clang = shutil.which("clang")
    if clang is None:
        return None
    probe = [clang, "-fsanitize=fuzzer", "-x", "c", "-", "-o", "/dev/null"]
    text = "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *d, size_t s) { return !d && s; }\n"
    return (
        clang
        if subprocess.run(probe, input=text, text=True, capture_output=True).returncode == 0
        else None
    )


def build(target: Target, table: LimitTable, folder: Path) -> Path:
    """The target's program, with headers generated for this body."""
    (folder / "protocol_gen.h").write_text(protocol_header())
    (folder / "limits_gen.h").write_text(limits_header(table))
    program = folder / f"fuzz_{target.name}"
    libraries = [library_source(name) for name in target.libraries]
    if libraries:
        write_loader_headers(folder)
    include = [word for path in (folder, HERE, SOURCES) for word in ("-iquote", str(path))]
    include += [f"-I{path}" for path in target.include]
    sources = [str(HERE / f"fuzz_{target.name}.c"), *(str(SOURCES / s) for s in target.sources)]
    sources += [str(file) for library in libraries for file in library.files]
    include += [flag for library in libraries for flag in library.flags]
    command = [str(compiler()), *FLAGS, *include, *sources, "-o", str(program)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return program


def write_loader_headers(folder: Path) -> None:
    """A small board, its key, and a signed image that runs from its first slot."""
    board = load_board("mps2")
    nvm = msgspec.structs.replace(
        board.nvm, slots=(0, 0x2000), slot_size=0x2000, records=(0x4000, 0x5000)
    )
    board = msgspec.structs.replace(board, nvm=nvm)
    (folder / "board_gen.h").write_text(board_header(board))
    (folder / "key_gen.h").write_text(load_key(DEVELOPMENT_KEY).header())
    sign(bytes(64), board, "0.1.0", DEVELOPMENT_KEY, folder / "image.bin")
    data = ", ".join(map(str, (folder / "image.bin").read_bytes()))
    (folder / "image_gen.h").write_text(f"static const unsigned char IMAGE[] = {{{data}}};\n")


def run(program: Path, target: Target, folder: Path, seed: int = 1) -> Outcome:
    """Fuzz for its time from the committed seeds; what is found new stays in `folder`."""
    corpus = folder / f"corpus_{target.name}"
    corpus.mkdir(exist_ok=True)
    seeds = [str(target.seeds)] if target.seeds.is_dir() else []
    command = [
        str(program), str(corpus), *seeds, f"-max_total_time={target.seconds}", f"-max_len={target.max_len}",
        f"-seed={seed}", "-timeout=10", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/",
        "-print_final_stats=1", "-reduce_inputs=1",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    fed = re.search(r"fuzzed: (\d+) bytes in (\d+) runs", result.stderr)
    bytes_, runs = (int(fed[1]), int(fed[2])) if fed else (0, 0)
    return Outcome(result.returncode, bytes_, runs, result.stderr[-4000:])
