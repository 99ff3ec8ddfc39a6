"""Channels: one writer each, readers that never block, misses that are counted."""

import threading

import numpy as np
import pytest

from runtime.channels import PROCESSES, Channels, channel_table
from runtime.errors import ChannelError
from runtime.sharing import ChannelServer, create_memory, fetch_memory, open_channels

S = 1_000_000_000


def test_only_the_tables_writer_may_write(channels: Channels) -> None:
    for row in channels.table.values():
        for process in PROCESSES:
            if process == row.writer:
                channels.writer(row.name, process)
            else:
                with pytest.raises(ChannelError, match=f"which {row.writer} writes"):
                    channels.writer(row.name, process)


def test_unknown_channel_lists_the_known_ones(channels: Channels) -> None:
    with pytest.raises(ChannelError, match="known are alive.console"):
        channels.reader("nothing")


def test_latest_stale_and_drain(channels: Channels) -> None:
    writer, reader = channels.writer("sensors", "controller"), channels.reader("sensors")
    assert not reader.latest() and reader.stale(0) and reader.drain() == []
    for k in range(3):
        writer.record["range_m"] = k
        writer.publish(S + k)
    assert reader.latest() and float(reader.record["range_m"]) == 2 and reader.seq == 3
    assert not reader.latest(), "nothing newer"
    assert not reader.stale(S + 2) and reader.stale(S + 2 + round(reader.row.stale_s * S) + 1)
    assert [float(r["range_m"]) for r in reader.drain()] == [0, 1, 2]
    assert reader.drain() == [] and reader.missed == 0


def test_what_was_overwritten_is_counted(channels: Channels) -> None:
    writer, reader = channels.writer("intent", "mind"), channels.reader("intent")
    for k in range(100):
        writer.publish(S + k)
    got = reader.drain()
    assert len(got) + reader.missed == 100 and len(got) >= reader.row.depth - 1
    assert int(got[-1]["t_ns"]) == S + 99


def test_a_restarted_writer_goes_on(channels: Channels) -> None:
    """Counters of gestures must not start at 0 again: a press after the restart would be lost."""
    first = channels.writer("operator", "console")
    first.record["stops"] = 3
    first.publish(S)
    assert int(channels.writer("operator", "console").record["stops"]) == 3


def test_the_recorder_has_time_to_drain() -> None:
    """Every logged ring holds at least 0.5 s of records: the recorder comes every 0.1 s."""
    for row in channel_table(8, (4, 4, 3)).values():
        if row.log_every:
            assert row.depth / row.hz >= 0.5, row.name


def test_memory_is_handed_out_over_a_socket(tmp_path) -> None:
    tmp_path = tmp_path / ("deep" * 30)  # longer than a socket's address may be
    tmp_path.mkdir()
    table = channel_table(8, (4, 4, 3))
    fds = create_memory(table)
    ours = open_channels(table, fds)
    server = ChannelServer(tmp_path / "s", fds, {"target": "twin"})
    answer = threading.Timer(0.05, server.step)
    answer.start()
    theirs_fds, about = fetch_memory(tmp_path / "s")
    answer.join()
    server.close()
    assert about == {"target": "twin"}
    theirs = open_channels(table, theirs_fds)
    writer = theirs.writer("operator", "console")
    writer.record["stops"] = 7
    writer.publish(S)
    reader = ours.reader("operator")
    assert reader.latest() and int(reader.record["stops"]) == 7
    with pytest.raises(ChannelError, match="companion run"):
        fetch_memory(tmp_path / "nobody")
    assert np.all([fd > 2 for fd in theirs_fds.values()])
