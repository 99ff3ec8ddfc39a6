"""`companion log`: whole, cut and foreign files, with the real recorder's file."""

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.channels import channel_table
from runtime.log import McapSink, read_log
from tools import companion

TABLE = channel_table(8, (4, 4, 3))
NAMES = ("sent", "event.mind", "frame")
SECOND = 1_000_000_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """2 s of a run: 200 commands, 40 frames, one event; flushed every 50 commands."""
    path = tmp_path / "run.mcap"
    rows = {name: TABLE[name] for name in NAMES}
    sink = McapSink(path, list(rows.values()), {"body": "companion"})
    records = {name: np.zeros((), row.dtype) for name, row in rows.items()}
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    for k in range(200):
        for name, every in (("sent", 1), ("frame", 5), ("event.mind", 200)):
            if k % every:
                continue
            records[name]["t_ns"] = SECOND + k * 10_000_000
            if name == "frame":
                records[name]["number"] += 1
                records[name]["pixels"] = pixels + records[name]["number"].astype(np.uint8)
            sink.write(rows[name], records[name])
        if k % 50 == 49:
            sink.flush()
    sink.close()
    return path


@pytest.fixture
def cut(log: Path, tmp_path: Path) -> Path:
    """The same log as a killed writer leaves it."""
    path = tmp_path / "cut.mcap"
    data = log.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    return path


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = companion.main(["log", *argv])
    return (code, *capsys.readouterr())


def test_info_names_every_channel(log: Path, capsys) -> None:
    code, out, _ = run(capsys, "info", str(log))
    assert code == 0
    assert "2.0 s" in out.splitlines()[0]
    assert any("sent" in line and "200 records" in line and "100.0 Hz" in line for line in out.splitlines())  # fmt: skip
    assert any("frame" in line and "20.0 Hz" in line for line in out.splitlines())


def test_info_as_json(log: Path, capsys) -> None:
    code, out, _ = run(capsys, "info", str(log), "--json")
    found = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert found["duration_s"] == pytest.approx(1.99)
    assert {n: c["count"] for n, c in found["channels"].items()} == {"sent": 200, "frame": 40, "event.mind": 1}  # fmt: skip


def test_a_cut_log_still_tells_what_it_holds(cut: Path, capsys) -> None:
    code, out, _ = run(capsys, "info", str(cut), "--json")
    assert code == 0
    assert 50 <= json.loads(out)["channels"]["sent"]["count"] < 200


def test_recover_keeps_every_whole_record(log: Path, cut: Path, capsys) -> None:
    code, out, _ = run(capsys, "recover", str(cut))
    assert code == 0
    good = cut.with_name("cut.recovered.mcap")
    assert f"records in {good}" in out
    before, after, whole = (read_log(p, TABLE) for p in (cut, good, log))
    for name in before:
        assert np.array_equal(before[name], after[name])
        assert np.array_equal(after[name], whole[name][: len(after[name])])
    assert sorted(p.name for p in cut.parent.iterdir()) == ["cut.mcap", "cut.recovered.mcap", "run.mcap"]  # fmt: skip
    from mcap.reader import make_reader

    with good.open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == sum(map(len, after.values()))


def test_recover_of_a_whole_log_loses_nothing(log: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "copy.mcap"
    code, said, _ = run(capsys, "recover", str(log), "--out", str(out))
    assert code == 0 and "241 records" in said
    for name, rows in read_log(log, TABLE).items():
        assert np.array_equal(rows, read_log(out, TABLE)[name])


def test_recover_overwrites_nothing(log: Path, capsys) -> None:
    log.with_name("run.recovered.mcap").write_text("mine")
    code, _, err = run(capsys, "recover", str(log))
    assert code == 2 and "is there already; give --out" in err
    assert log.with_name("run.recovered.mcap").read_text() == "mine"


@pytest.mark.parametrize("verb", ["info", "recover"])
@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no log"), (b"", "is no MCAP file"), (b"hello, this is text", "is no MCAP file")],
)
def test_what_is_no_log_is_one_sentence(tmp_path: Path, capsys, verb, content, says) -> None:
    file = tmp_path / "x.mcap"
    if content is not None:
        file.write_bytes(content)
    code, out, err = run(capsys, verb, str(file))
    assert code == 2 and says in err and err.count("\n") == 1 and out == ""


def test_a_log_that_was_cut_at_its_very_start_says_so(log: Path, tmp_path: Path, capsys) -> None:
    file = tmp_path / "stub.mcap"
    file.write_bytes(log.read_bytes()[:40])
    code, _, err = run(capsys, "info", str(file))
    assert code == 2 and "holds no whole record" in err


@pytest.mark.parametrize("data", [b"\x00\x01\x00\x00CDR", b'{"a": 1}', b"[]", b"5"])
@pytest.mark.parametrize("verb", ["info", "recover"])
def test_another_programs_mcap_is_one_sentence(
    tmp_path: Path, capsys, verb: str, data: bytes
) -> None:
    from mcap.writer import Writer

    log = tmp_path / "ros.mcap"
    with log.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("sensor_msgs/Imu", "ros2msg", b"")
        channel = writer.register_channel("/imu", "cdr", schema)
        writer.add_message(channel, 1, data, 1)
        writer.finish()
    assert companion.main(["log", verb, str(log)]) == 2
    said = capsys.readouterr().err
    assert "is an MCAP of something else" in said and "Traceback" not in said
    assert [p.name for p in tmp_path.iterdir()] == ["ros.mcap"]
