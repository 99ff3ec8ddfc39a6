"""The gyro of a GoPro's MP4: its `gpmd` track of nested key-length-values (gopro/gpmf-parser, README)."""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, first byte, end) of the boxes in a stretch of an MP4."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        if size < head:
            return
        yield kind, start + head, start + size
        start += size


def find(
    data: bytes, path: list[bytes], start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int]]:
    for kind, first, last in boxes(data, start, end):
        if kind == path[0]:
            if len(path) == 1:
                yield first, last
            else:
                yield from find(data, path[1:], first, last)


def table(data: bytes, first: int, form: str, skip: int = 8) -> list[tuple[int, ...]]:
    count = struct.unpack_from(">I", data, first + skip - 4)[0]
    size = struct.calcsize(form)
    return [struct.unpack_from(form, data, first + skip + i * size) for i in range(count)]


def payloads(data: bytes) -> Iterator[tuple[float, float, bytes]]:
    """(start [s], length [s], bytes) of the samples of the `gpmd` track."""
    for first, last in find(data, [b"moov", b"trak"]):
        if b"gpmd" not in data[first:last]:
            continue
        inside = [b"mdia", b"minf", b"stbl"]
        mdhd = next(find(data, [b"mdia", b"mdhd"], first, last))[0]
        scale = struct.unpack_from(">I", data, mdhd + 12)[0]
        part = {
            n: next(find(data, [*inside, n], first, last), (0, 0))[0]
            for n in (b"stsz", b"stco", b"co64", b"stts", b"stsc")
        }
        fixed, count = struct.unpack_from(">II", data, part[b"stsz"] + 4)
        sizes = [fixed] * count if fixed else [s for (s,) in table(data, part[b"stsz"], ">I", 12)]
        offsets = [
            o
            for (o,) in (
                table(data, part[b"stco"], ">I")
                if part[b"stco"]
                else table(data, part[b"co64"], ">Q")
            )
        ]
        runs = [d for n, d in table(data, part[b"stts"], ">II") for _ in range(n)]
        chunks = table(data, part[b"stsc"], ">III")
        sample, now = 0, 0.0
        for i, offset in enumerate(offsets):
            per = next(n for begin, n, _ in reversed(chunks) if begin <= i + 1)
            for _ in range(per):
                length = runs[sample] / scale
                yield now, length, data[offset : offset + sizes[sample]]
                now, offset, sample = now + length, offset + sizes[sample], sample + 1


def items(data: bytes) -> Iterator[tuple[bytes, bytes, int, int, bytes]]:
    """(key, type, size, repeat, value) of one level."""
    at = 0
    while at + 8 <= len(data):
        key, kind, size, repeat = struct.unpack_from(">4scBH", data, at)
        length = size * repeat
        yield key, kind, size, repeat, data[at + 8 : at + 8 + length]
        at += 8 + (length + 3) // 4 * 4


def gyro(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(N,) [s] and (N, 3) [rad/s] as stored (Hero5: axes z, x, y), evenly spread over each payload."""
    data = path.read_bytes()
    starts, counts, rates = [], [], []
    for start, length, payload in payloads(data):
        for _, kind, _, _, device in items(payload):
            assert kind == b"\0"
            for key, _, _, _, stream in items(device):
                held = {k: (t, n, v) for k, t, _, n, v in items(stream)} if key == b"STRM" else {}
                if b"GYRO" not in held:
                    continue
                scale = np.frombuffer(
                    held[b"SCAL"][2], ">i2" if held[b"SCAL"][0] == b"s" else ">i4"
                )
                _, count, raw = held[b"GYRO"]
                rates.append(np.frombuffer(raw, ">i2").reshape(count, 3) / scale)
                starts.append((start, length))
                counts.append(count)
    usual = np.median(counts)  # the last payload is cut short
    times = [s + (np.arange(n) + 0.5) * d / usual for (s, d), n in zip(starts, counts, strict=True)]
    return np.concatenate(times), np.concatenate(rates)
