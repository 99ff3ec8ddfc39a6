"""Columns of numbers in a text file: what the header calls them, and their units.

Understood are EuRoC's header, `rostopic echo -p`, any header that names gyro or accelerometer axes,
and plain columns without a header: time and three axes, or time and six. Spreadsheets of other
countries too: semicolons or tabs between decimal commas, UTF-16 and Windows' code page.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.errors import DataError

Floats = npt.NDArray[np.float64]

HEAD_LINES = 200
TIME = re.compile(r"(^|[._ ])(t|time|times?tamps?|time_?stamps?|stamp|sec|secs|seconds|elapsed)([._ ]?(s|ms|us|ns|sec|usec|nsec|utc))?$")  # fmt: skip
KINDS = (
    (
        "gyro",
        re.compile(
            r"gyr|omega|ang_?vel|angular_?vel|w_rs_s|turn_?rate|^[gw]_?[xyz0-2](?![a-z0-9])"
        ),
    ),
    ("accel", re.compile(r"acc|linear_?acc|a_rs_s|specific_?force|^a_?[xyz0-2](?![a-z0-9])")),
)
NOT_AXES = re.compile(r"bias|cov|std|temp|mag|orient|quat|status|valid")
AXIS = re.compile(
    r"(?:^|[._ ])([xyz])(?:[._ ]|$)|\[([012])\]|([xyz])$|[._ ]([012])$|^[agw]([xyz])[._ ]"
)
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")
UNITS = (  # the order matters: m/s^2 before s, mg before g
    ("deg/h", r"deg(rees)?[ /_]?(per_?)?(h|hr|hour)"),
    ("deg/s", r"deg(rees)?[ /_]?(per_?)?(s|sec)|dps|°/s|deg(rees)?$"),
    ("rad/s", r"rad(ians)?[ /_]?(per_?)?(s|sec)|rps"),
    ("m/s^2", r"m[ /_]?(per_?)?s(\^?-?2|2|s|ec2)|mss|mps2"),
    ("mg", r"(^|[_ ])m[gG]$"),
    ("g", r"(^|[_ ])gs?$|gravity"),
    ("counts", r"counts?|lsb|raw|adc|digits?"),
)
TIME_UNITS = (
    ("ns", r"n(ano)?_?s(ec|econds?)?$"), ("us", r"[uµ]_?s(ec)?$|micro_?s(ec|econds?)?$"),
    ("ms", r"m(illi)?_?s(ec|econds?)?$"), ("s", r"(^|[_ ])s(ec|ecs|econds)?$"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its place, what it holds (`time`, `gyro`, `accel`, ``), axis 0-2, unit or ``."""

    place: int
    kind: str
    axis: int
    unit: str
    name: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """A text file before its numbers are read: the header's columns, where the numbers begin."""

    path: Path
    delimiter: str | None  # None: white space
    skip: int  # lines before the first number
    width: int
    columns: tuple[Column, ...]  # empty: no header
    encoding: str = "utf-8-sig"
    decimal_comma: bool = False

    def of(self, kind: str) -> list[Column]:
        """The columns of one kind, axes in order."""
        return sorted((c for c in self.columns if c.kind == kind), key=lambda c: c.axis)

    def numbers(self, places: list[int]) -> Floats:
        """(N, len(places)) values; DataError names the line that holds something else."""
        return np.asarray(self._load(places, np.float64), np.float64)

    def ticks(self, place: int) -> tuple[npt.NDArray[np.int64], int]:
        """A clock's column as integers after its first value, in 1/scale of its unit, and scale.

        Epoch clocks have more digits than a float holds: whole numbers are read as such, others
        with all their digits.
        """
        try:
            whole = np.asarray(self._load([place], np.int64), np.int64)[:, 0]
            return whole - whole[0], 1
        except DataError:
            long = np.asarray(self._load([place], np.longdouble))[:, 0]
        if not np.isfinite(long).all():
            row = int(np.argmin(np.isfinite(long)))
            raise DataError(f"{self.path}: no time in row {row + 1}; export the log again")
        return np.round((long - long[0]) * 10**9).astype(np.int64), 10**9

    def first(self, place: int) -> float:
        """The first value of a column, for its size."""
        line = next(itertools.islice(self.lines(), self.skip, None))
        return float(_cells(line, self.delimiter)[place])

    def lines(self) -> Iterator[str]:
        """All lines, with decimal points."""
        with self.path.open(encoding=self.encoding, errors="replace") as stream:
            yield from (_pointed(line) for line in stream) if self.decimal_comma else stream

    def _load(self, places: list[int], kind: type) -> npt.NDArray[np.generic]:
        plain = self.encoding == "utf-8-sig" and not self.decimal_comma  # numpy reads a file faster
        try:
            return np.loadtxt(
                self.path if plain else self.lines(), dtype=kind, comments=("#", "%"),
                delimiter=self.delimiter, skiprows=self.skip, usecols=places, ndmin=2,
                encoding=self.encoding,
            )  # fmt: skip
        except (ValueError, UnicodeDecodeError) as error:
            found = str(error).split(";")[0].split(".\n")[0]
            raise DataError(
                f"{self.path}: expected {self.width} numbers a line after line {self.skip}, found:"
                f" {found}; remove that line or export the log again"
            ) from error


def read_sheet(path: Path) -> Sheet:
    """Look at the beginning of a text file; DataError for what holds no columns of numbers."""
    head, encoding = _head(path)
    for skip, line in enumerate(head):
        delimiter, comma = _delimiter(line)
        cells = _cells(_pointed(line) if comma else line, delimiter)
        if line.lstrip().startswith(("#", "%")) or not cells or not _numbers(cells):
            continue
        header = _header(head[:skip], delimiter, len(cells))
        names = _cells(header, delimiter) if header else []
        columns = tuple(column(i, name) for i, name in enumerate(names))
        return Sheet(path, delimiter, skip, len(cells), columns, encoding, comma)
    if any(_is_number(line.strip()) for line in head):
        raise DataError(
            f"{path}: expected time and three axes in columns, found one number a line; export the whole log"
        )
    where = (
        f"in its first {len(head)} lines"
        if len(head) == HEAD_LINES
        else f"in its {len(head)} lines"
    )
    found = f"no line of numbers {where}" if head else "nothing: the file is empty"
    raise DataError(
        f"{path}: expected a CSV or plain columns with time, x, y, z; found {found}; export the log again"
    )


def _delimiter(line: str) -> tuple[str | None, bool]:
    """What stands between the cells (None: white space), and whether numbers have decimal commas."""
    for delimiter in (";", "\t"):
        cells = _cells(line, delimiter)
        if delimiter in line and any(DECIMAL_COMMA.fullmatch(c) for c in cells):
            return delimiter, True
    return ("," if "," in line else ";" if ";" in line else None), False


def _pointed(line: str) -> str:
    return line.replace(",", ".")


def _head(path: Path) -> tuple[list[str], str]:
    """The first lines, and the file's encoding."""
    if not path.is_file():
        raise DataError(f"no file {path}; give a CSV, plain text columns, or an .mcap")
    with path.open("rb") as stream:
        start = stream.read(4096)
    encoding = _encoding(start)
    if b"\0" in start and encoding != "utf-16":
        kind = "a MATLAB binary" if start.startswith(b"MATLAB") else "binary"
        raise DataError(f"{path} is {kind}, not text; export it as CSV with a time column")
    with path.open(encoding=encoding, errors="replace") as stream:
        return list(itertools.islice(stream, HEAD_LINES)), encoding


def _encoding(start: bytes) -> str:
    """By the mark at the beginning, or whether it is UTF-8; else Windows' Western code page."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # a character cut in two is no error
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _cells(line: str, delimiter: str | None) -> list[str]:
    return [cell.strip().strip('"') for cell in line.strip().rstrip(",;").split(delimiter)]


def _numbers(cells: list[str]) -> bool:
    """Numbers, or words between numbers (a frame's name): at least two numbers in a line."""
    return sum(map(_is_number, cells)) >= max(2, len(cells) // 2)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _header(lines: list[str], delimiter: str | None, width: int) -> str:
    """The last line above the numbers that has a name for every column."""
    for line in reversed(lines):
        text = line.lstrip("#% ").strip()
        if len(_cells(text, delimiter)) == width:
            return text
    return ""


def column(place: int, name: str) -> Column:
    """What a column's name says about it."""
    bracket = re.search(r"[\[(]([^\d\])][^\])]*)[\])]\s*$", name)
    plain = (name[: bracket.start()] if bracket else name).strip().lower()
    said = bracket.group(1).strip() if bracket else ""
    if TIME.search(plain):
        return Column(place, "time", 0, _unit(said or plain, TIME_UNITS), name)
    axis = AXIS.search(plain)
    kind = next((k for k, pattern in KINDS if pattern.search(plain)), "")
    if not kind or not axis or NOT_AXES.search(plain):
        return Column(place, "", 0, "", name)
    letter = next(g for g in axis.groups() if g)
    before = plain[: axis.start()]
    before = "" if len(before) == 1 else before  # the g of gx says gyro, and no unit
    rest = f"{before} {plain[axis.end() :]}"
    number = "xyz".index(letter) if letter in "xyz" else int(letter)
    return Column(place, kind, number, _unit(said or rest, UNITS), name)


def _unit(text: str, table: tuple[tuple[str, str], ...]) -> str:
    """`rad s^-1` and `rad_s` are rad/s."""
    text = re.sub(r"\s*\*?\s*s\^?-1$", "/s", text.strip())
    text = re.sub(r"\s*\*?\s*s\^?-2$", "/s2", text).strip("_ ")
    return next((unit for unit, pattern in table if re.search(pattern, text)), "")
