"""The bench: rows with the design's keys, ratios against baselines of the same run."""

import json
import sys

import pytest

from runtime.body import load_body
from tools import bench, bench_link, companion
from tools.bench import BENCHES, Row, interleaved

KEYS = {"name", "value", "unit", "baseline", "baseline_value", "ratio", "goal", "ok", "samples"}


@pytest.mark.parametrize(("value", "ok"), [(10.0, True), (20.0, True), (20.1, False)])
def test_a_row_is_good_up_to_its_goal(value: float, ok: bool) -> None:
    row = Row("x", value, "us", "y", 100.0, 0.2, 5).to_json()
    assert set(row) == KEYS
    assert row["ratio"] == pytest.approx(value / 100) and row["ok"] is ok


def test_both_sides_are_called_in_turn() -> None:
    calls: list[str] = []
    ours, theirs = interleaved(lambda: calls.append("a"), lambda: calls.append("b"), 2)
    assert calls == ["a", "a", "b", "b"] * bench.ROUNDS
    assert ours > 0 and theirs > 0


@pytest.mark.parametrize("name", [n for n in BENCHES if n != "lockstep"])
def test_every_row_has_a_baseline_from_this_machine(name: str, monkeypatch) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 3)
    rows = [r.to_json() for r in BENCHES[name]()]
    assert rows
    for row in rows:
        assert row["value"] > 0 and row["baseline_value"] > 0 and row["baseline"]


def test_the_command_prints_rows_and_its_exit_code_is_the_goals(monkeypatch, capsys) -> None:
    def fake(goal: float):
        return lambda: iter([Row("r", 1.0, "us", "other", 2.0, goal, 1)])

    monkeypatch.setattr(bench, "BENCHES", {"good": fake(0.6), "bad": fake(0.4)})
    assert companion.main(["bench", "good", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True and found["rows"][0]["ratio"] == 0.5
    assert companion.main(["bench", "--json"]) == 1
    assert [r["ok"] for r in json.loads(capsys.readouterr().out)["rows"]] == [True, False]
    assert companion.main(["bench"]) == 1
    out = capsys.readouterr().out
    assert "ok  r" in out and "NO  r" in out


def test_the_links_share_of_a_core_stands_beside_two_baselines_or_says_why_not(
    monkeypatch, capsys
) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 3)
    rows = {r.name: r.to_json() for r in BENCHES["link"]()}
    if "link.mavlink" in rows:
        assert rows["link.mavlink"]["ok"]
    assert rows["link.frames"]["value"] > 250 and rows["link.frames"]["ok"]
    assert rows["link.core"]["ok"] and rows["link.python"]["ok"]
    monkeypatch.setitem(sys.modules, "pymavlink.dialects.v20", None)
    assert {r.name for r in BENCHES["link"]()} == {"link.frames", "link.core", "link.python"}
    assert "pip install pymavlink" in capsys.readouterr().err


def test_a_lost_frame_misses_the_goal(monkeypatch) -> None:
    table = load_body("companion").limit_table()
    chunks = bench_link.record(table)
    broken = [*chunks]
    broken[50] = broken[50][:10] + b"\x55" + broken[50][11:]
    assert bench_link.c_decoder(table, broken)() == bench_link.c_decoder(table, chunks)() - 1
    assert not Row("link.frames", 257, "sent", "frames decoded", 256, 1.0, 257).to_json()["ok"]
