"""Sets up .venv for a make target; the standard library only, for nothing else is there yet.

`python3 tools/setup_env.py run|firmware|test|train|ci`: makes the venv, installs what the target needs, and is
done at once when that is already there (a stamp holds the hash of pyproject.toml and the extras).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
RUN = ("cpu", "vision", "twin", "console", "log", "firmware", "calibrate")
EXTRAS = {
    "run": RUN,
    "firmware": ("firmware",),
    "test": (*RUN, "dev"),
    "train": (*RUN, "dev", "train"),
    "ci": (*RUN, "dev", "train", "browser", "parity"),
}
PROGRAMS = {"ci": ["stm32loader>=0.7.1"]}  # of the extra blank: pyocd wants a probe to be of use
OLDEST, NEWEST = (3, 10), (3, 12)


def fail(text: str) -> None:
    """One sentence and exit 1."""
    print(f"setup: {text}", file=sys.stderr)
    raise SystemExit(1)


def step(text: str, command: list[str]) -> None:
    """Say what is done, do it, and say what failed."""
    print(f"setup: {text}", flush=True)
    result = subprocess.run(command, cwd=ROOT, check=False)
    if result.returncode:
        fail(f"`{' '.join(command[-4:])}` failed with exit code {result.returncode}; see above")


def make_venv() -> None:
    """A venv of this interpreter; one that is broken or of another Python is made anew."""
    python = VENV / "bin" / "python"
    if python.exists():
        works = subprocess.run(
            [str(python), "-m", "pip", "--version"], capture_output=True, check=False
        )
        if works.returncode == 0:
            return
        shutil.rmtree(VENV)
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        fail("this Python has no ensurepip, so it makes no venv; install the package python3-venv")
    step(
        f"making .venv with Python {sys.version.split()[0]}",
        [sys.executable, "-m", "venv", str(VENV)],
    )


def main() -> None:
    """Install what a target needs, unless the stamp says it is there."""
    target = sys.argv[1] if len(sys.argv) == 2 and sys.argv[1] in EXTRAS else ""
    if not target:
        fail(f"give one of {', '.join(EXTRAS)}")
    if sys.version_info[:2] < OLDEST:
        fail(
            f"Python {sys.version.split()[0]} is too old; use 3.10 to 3.12: make PYTHON=python3.12 ..."
        )
    if sys.version_info[:2] > NEWEST:
        print(
            f"setup: note: Python {sys.version.split()[0]} is newer than any tried (3.10 to 3.12)"
        )
    extras = list(EXTRAS[target])
    compilers = ["cc", "arm-none-eabi-gcc"] if target in ("firmware", "ci") else ["cc"]
    every = target != "ci" and all(map(shutil.which, compilers))  # CI tries both compilers
    zig = [] if every else ["ziglang>=0.13"]
    tools = [*zig, *PROGRAMS.get(target, [])]
    key = hashlib.sha256(
        (ROOT / "pyproject.toml").read_bytes() + repr((extras, tools)).encode()
    ).hexdigest()
    stamp = VENV / f".companion-{target}"
    if stamp.is_file() and stamp.read_text() == key:
        return
    began = time.monotonic()
    make_venv()
    if zig:
        print("setup: not every C compiler is here: the zig wheel builds what they would")
    step(
        f"installing for `make {target}` (first time: {'a tenth of a' if target == 'firmware' else 'about half a'} gigabyte)",
        [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "-e", f".[{','.join(extras)}]", *tools],
    )  # fmt: skip
    stamp.write_text(key)
    print(f"setup: ready after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
