"""Mutants of the firmware's C: one operator, constant or condition changed, compiled alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.build import SOURCES, compilers
from firmware_bridge.native import LIBRARY

MUTATED = ("limits.c", "core.c", "core_sense.c", "core_host.c", "core_param.c")
# what C leaves undefined ends the child at once: an index too far, a shift too wide, an overflow
TRAPS = ("-fsanitize=undefined,bounds-strict", "-fsanitize-undefined-trap-on-error")
FLAGS = ("-std=c11", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-w")
SWAPS = {
    "<": ("<=", ">="), ">": (">=", "<="), "<=": ("<", ">"), ">=": (">", "<"),
    "==": ("!=",), "!=": ("==",), "&&": ("||",), "||": ("&&",),
    "+": ("-",), "-": ("+",), "*": ("/",), "/": ("*",), "%": ("/",),
    "<<": (">>",), ">>": ("<<",), "&": ("|",), "|": ("&",), "^": ("&",),
    "+=": ("-=", "="), "-=": ("+=",), "|=": ("=", "&="), "&=": ("=", "|="), "++": ("--",),
    ">>=": ("<<=",), "!": ("",), "~": ("",), "u-": ("",),
}  # fmt: skip
TOKEN = re.compile(
    r"/\*.*?\*/|\"[^\"]*\"|#\s*include[^\n]*|INT64_C\(|UINT64_C\(|0x[0-9A-Fa-f]+u?|\d+\.\d+f?|\d+u?|\w+|"
    r"->|>>=|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|[-+|&]=|[-+*/%<>&|^!~?:=(),;{}\[\].]|\s+|.",
    re.DOTALL,
)
NUMBER = re.compile(r"(0x[0-9A-Fa-f]+|\d+)(u?)$")


@dataclass(frozen=True)
class Mutant:
    """The whole text of a file with one thing changed, and that line before and after."""

    file: str
    line: int
    function: str
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}: {self.before}  ->  {self.after}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is, wherever the line moves to."""
        return self.file, self.before, self.after


def mutants(file: str, text: str | None = None) -> list[Mutant]:
    """Every mutant of one file, in the order of its text."""
    text = (SOURCES / file).read_text() if text is None else text
    found = {}
    for start, end, replacement in _changes(text):
        changed = text[:start] + replacement + text[end:]
        line = text.count("\n", 0, start)
        before, after = (t.split("\n")[line].strip() for t in (text, changed))
        before, after = _code(before), _code(after)
        m = Mutant(file, line + 1, _function(text, start), before, after, changed)
        if not is_tie(m):
            found.setdefault((m.line, m.after), m)
    return list(found.values())


TIES = {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}
CHOICES = ("magnitude", "smaller", "bounded", "absolute", "within", "harder", "rounded")


def is_tie(m: Mutant) -> bool:
    """A minimum, maximum or magnitude whose two sides are the same at the tie: no other program."""
    if m.function not in CHOICES:
        return False
    tokens = [[t for t in TOKEN.findall(line) if not t.isspace()] for line in (m.before, m.after)]
    changed = [(a, b) for a, b in zip(*tokens, strict=False) if a != b]
    return (
        len(tokens[0]) == len(tokens[1])
        and len(changed) == 1
        and TIES.get(changed[0][0]) == changed[0][1]
    )


def _code(line: str) -> str:
    return re.sub(r"\s*/\*.*?(\*/|$)", "", line)


def _function(text: str, at: int) -> str:
    """The function an offset lies in, or the macro it defines."""
    head = text[:at].rsplit("\n", 1)[-1]
    if head.startswith("#define"):
        return head.split()[1]
    starts = re.findall(r"^[a-z][\w\s*]*?\b(\w+)\(", text[:at], re.MULTILINE)
    return starts[-1] if starts else ""


def _changes(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, replacement) of every change."""
    tokens = [(m.start(), m.end(), m.group()) for m in TOKEN.finditer(text)]
    code = [
        t for t in tokens if not t[2].isspace() and not t[2].startswith(("/*", '"', "#include"))
    ]
    for i, (start, end, token) in enumerate(code):
        last = code[i - 1][2] if i else ""
        following = code[i + 1][2] if i + 1 < len(code) else ""
        unit = 1000 if re.fullmatch(r"\w+_US", last) else 1
        for replacement in _replacements(token, last, following, unit):
            yield start, end, replacement
        if token == "(" and last in ("if", "while"):
            close = _closing(code, i)
            yield start, close, f"(!{text[start:close]})"


def _closing(code: list[tuple[int, int, str]], i: int) -> int:
    depth = 0
    for _, end, token in code[i:]:
        depth += token.endswith("(") - (token == ")")
        if depth == 0:
            return end
    raise ValueError("no closing parenthesis")


def _replacements(token: str, last: str, following: str, unit: int) -> tuple[str, ...]:
    number = NUMBER.match(token)
    if number:
        return _numbers(number[1], number[2], unit)
    if token in ("true", "false"):
        return ("false" if token == "true" else "true",)
    operand = bool(re.match(r"[\w)\]]", last[-1:])) and last not in ("return", "case", "else")
    if token in "*&" and (not operand or _declares(last, following)):
        return ()  # a pointer or an address
    if token == "-" and not operand:
        return SWAPS["u-"]
    if token in ("+", "/", "%", "<", ">") and not operand:
        return ()
    return SWAPS.get(token, ())


TYPES = re.compile(
    r"(u?int\d+_t|void|char|const|core|plant|limit_table|limit_state|joint_limit|frame|joint_watch|push_watch|"
    r"core_identity|handler|imu_item|size_t|msg_\w+|plant_sensors)$"
)


def _declares(last: str, following: str) -> bool:
    return bool(TYPES.match(last)) or following in (")", ",")


def _numbers(digits: str, suffix: str, unit: int) -> tuple[str, ...]:
    value = int(digits, 0)
    step = unit if value % unit == 0 and value >= unit else 1
    changed = {value + step, value * 2, 0}
    if value >= step:
        changed.add(value - step)
    return tuple(f"{v}{suffix}" for v in sorted(changed - {value}))


class Workshop:
    """Compiles mutants into libraries; what is not mutated is compiled once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._command = compilers()[0]
        self._include = [f"-I{folder}", f"-I{SOURCES}"]
        for name, text in LIBRARY.headers.items():
            (folder / name).write_text(text)
        for name in LIBRARY.sources:
            if not self._object(SOURCES / name, self._at(name), "-O1", *TRAPS):
                raise AssertionError(f"{name} does not compile")

    def _at(self, source: str) -> Path:
        return self.folder / f"{source}.o"

    def _object(self, source: Path, target: Path, *flags: str) -> bool:
        command = [
            *self._command,
            *FLAGS,
            *flags,
            *self._include,
            "-c",
            str(source),
            "-o",
            str(target),
        ]
        return subprocess.run(command, capture_output=True).returncode == 0

    def library(self, mutant: Mutant | None, name: str) -> Path | None:
        """The library with one file changed; None: that does not compile."""
        objects = {source: self._at(source) for source in LIBRARY.sources}
        if mutant:
            source = self.folder / f"{name}.c"
            source.write_text(mutant.text)
            objects[mutant.file] = self.folder / f"{name}.o"
            if not self._object(source, objects[mutant.file], "-O0", *TRAPS):
                return None
        target = self.folder / f"{name}.so"
        link = [*self._command, "-shared", *map(str, objects.values()), "-o", str(target)]
        subprocess.run(link, check=True, capture_output=True)
        return target

    def is_the_same_program(self, mutant: Mutant) -> bool:
        """Whether the optimiser makes the same instructions of it: then nothing can tell them apart."""
        out = []
        for text in ((SOURCES / mutant.file).read_text(), mutant.text):
            source, target = self.folder / "same.c", self.folder / "same.s"
            source.write_text(text)
            command = [
                *self._command,
                *FLAGS,
                "-O2",
                "-S",
                *self._include,
                str(source),
                "-o",
                str(target),
            ]
            subprocess.run(command, check=True, capture_output=True)
            out.append(target.read_text())
        return out[0] == out[1]
