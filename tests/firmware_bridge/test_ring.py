"""The ring: order, overwriting, shapes, concurrent writers' victims, and a killed writer."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from firmware_bridge.errors import MemoryMismatch
from firmware_bridge.ring import Ring

WRITER = """
import mmap, os, sys
import numpy as np
from firmware_bridge.ring import Ring
fd, words, depth = map(int, sys.argv[1:])
ring = Ring(mmap.mmap(fd, os.fstat(fd).st_size), 8 * words, depth)
record = np.zeros(words, np.uint64)
print("up", flush=True)
while True:
    record[:] = ring.head + 1
    ring.write(record, ring.head + 1)
"""


def make(words: int = 3, depth: int = 4) -> Ring:
    return Ring(bytearray(Ring.size(8 * words, depth)), 8 * words, depth)


def start_writer(fd: int, words: int, depth: int) -> subprocess.Popen:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(fd), str(words), str(depth)],
        pass_fds=[fd],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout.readline() == b"up\n"
    writer.stdout.close()
    return writer


def kill(writer: subprocess.Popen) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()


def test_latest_and_read():
    ring = make()
    out = np.zeros(3, np.uint64)
    assert ring.latest(out) == 0
    assert ring.read(1, out) is None
    for value in range(1, 11):
        assert ring.write(np.full(3, value, np.uint64), value * 100) == value
    assert ring.head == 10
    assert ring.latest(out) == 10
    assert out.tolist() == [10, 10, 10]
    assert ring.t_ns == 1000
    assert [ring.read(seq, out) for seq in (6, 7, 10, 11)] == [False, True, True, None]
    out[:] = 0
    assert ring.latest(out, 10) == 10
    assert out.tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 382, 36864])
def test_any_record_size(size):
    ring = Ring(bytearray(Ring.size(size, 3)), size, 3)
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    ring.write(data, -5)
    out = np.zeros(size, np.uint8)
    assert ring.latest(out) == 1
    assert np.array_equal(out, data)
    assert ring.t_ns == -5


def test_structured_records_and_0d_arrays():
    dtype = np.dtype([("t_ns", "<i8"), ("x", "<f4", 3)])
    ring = Ring(bytearray(Ring.size(dtype.itemsize, 2)), dtype.itemsize, 2)
    record = ring.record(dtype)
    record["x"] = (1, 2, 3)
    ring.write(record, 7)
    out = ring.record(dtype)
    ring.latest(out)
    assert out["x"].tolist() == [1, 2, 3]


def test_shapes_are_checked():
    memory = bytearray(Ring.size(24, 4))
    Ring(memory, 24, 4)
    with pytest.raises(MemoryMismatch, match="another shape"):
        Ring(memory, 16, 4)
    with pytest.raises(MemoryMismatch, match="needs"):
        Ring(memory, 240, 4)
    with pytest.raises(MemoryMismatch, match="at least 2"):
        Ring(memory, 24, 1)


def test_attaching_keeps_what_is_there():
    fd = Ring.create_fd("test", 24, 4)
    try:
        writer = Ring(mmap.mmap(fd, os.fstat(fd).st_size), 24, 4)
        writer.write(np.full(3, 9, np.uint64), 1)
        out = np.zeros(3, np.uint64)
        assert Ring(mmap.mmap(fd, os.fstat(fd).st_size), 24, 4).latest(out) == 1
        assert out[0] == 9
    finally:
        os.close(fd)


def test_concurrent_reader_never_sees_a_torn_record():
    words, depth = 512, 2  # big and shallow: the reader is lapped all the time
    fd = Ring.create_fd("test", 8 * words, depth)
    ring = Ring(mmap.mmap(fd, os.fstat(fd).st_size), 8 * words, depth)
    writer = start_writer(fd, words, depth)
    try:
        out = np.zeros(words, np.uint64)
        last = reads = 0
        end = time.monotonic() + 20.0  # a busy machine lets the writer in seldom
        while reads <= 200 and time.monotonic() < end:
            seq = ring.latest(out, last)
            assert seq >= last
            if seq != last:
                assert out[0] == seq == ring.t_ns
                assert (out == seq).all()
                reads += 1
                last = seq
            status = ring.read(ring.head, out)
            assert status is not True or (out == out[0]).all()
        assert reads > 200
    finally:
        kill(writer)
        os.close(fd)


def test_killed_writers_leave_a_readable_ring():
    words, depth = 2048, 3
    fd = Ring.create_fd("test", 8 * words, depth)
    ring = Ring(mmap.mmap(fd, os.fstat(fd).st_size), 8 * words, depth)
    out = np.zeros(words, np.uint64)
    rng = np.random.default_rng(1)
    before = 0
    try:
        for _ in range(8):
            writer = start_writer(fd, words, depth)
            time.sleep(float(rng.uniform(0.002, 0.02)))
            kill(writer)
            head = ring.latest(out)
            assert head > before
            assert (out == head).all()
            ring.write(np.full(words, head + 1, np.uint64), 0)
            assert ring.latest(out) == head + 1
            assert (out == head + 1).all()
            before = head + 1
    finally:
        os.close(fd)


def test_wait_wakes_on_write_and_on_time():
    fd = Ring.create_fd("test", 8, 4)
    ring = Ring(mmap.mmap(fd, os.fstat(fd).st_size), 8, 4)
    try:
        start = time.monotonic()
        assert ring.wait(0, 30_000) == 0
        assert 0.02 < time.monotonic() - start < 1.0
        writer = start_writer(fd, 1, 4)
        assert ring.wait(ring.head, 2_000_000) > 0
        kill(writer)
        assert ring.wait(0, 2_000_000) == ring.head  # already newer: returns at once
    finally:
        os.close(fd)
