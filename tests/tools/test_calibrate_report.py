"""`companion calibrate TOOL report`: the page of a result, beside what is installed."""

import json
import os
import re
import stat
import threading

import pytest

from calibration.store import Record, write_record
from tools import companion
from tools.report import write_whole

VERDICT = {
    "tool": "camera", "verdict": "MARGINAL", "cause": "the lower right was hardly seen", "next": "fill it",
    "result": {"model": "pinhole", "camera_matrix": [[500.5, 0, 320], [0, 500, 240], [0, 0, 1]], "std": {"fx": 0.25}},
    "quality": {"held_out_px": 0.3, "bad_views": ["<b>.png"]}, "inputs_sha256": "0", "device": "cam",
    "findings": [{"level": "MARGINAL", "cause": "the lower right was hardly seen", "next": "fill it"}, {"level": "MARGINAL", "cause": "few views", "next": "take more"}],
}  # fmt: skip


@pytest.fixture
def result(tmp_path):
    file = tmp_path / "camera.json"
    file.write_text(json.dumps(VERDICT))
    return file


def report(capsys, tmp_path, *argv, tool="camera"):
    page = tmp_path / "r.html"
    common = ["--report", str(page), "--folder", str(tmp_path / "c")]
    code = companion.main(["calibrate", tool, "report", *map(str, argv), *common])
    text = page.read_text() if page.exists() else ""
    return code, re.sub(r"<style>.*?</style>", "", text), capsys.readouterr().err


def installed(folder, **changes):
    then = {"model": "pinhole", "camera_matrix": [[499.0, 0, 320], [0, 500, 240], [0, 0, 1]]}
    head = {"kind": "camera", "serial": "cam", "date": "2026-01-01T00:00:00Z", "tool_version": "0", "verdict": "PASS", "cause": "", "next": "", "result": then, "quality": {"held_out_px": 0.2}}  # fmt: skip
    write_record(folder, Record(**(head | changes)))


def test_the_page_has_verdict_findings_and_tables(capsys, tmp_path, result):
    code, page, _ = report(capsys, tmp_path, result)
    assert code == 0
    assert "MARGINAL" in page and "few views" in page and "take more" in page
    assert "no camera calibration of cam is installed" in page
    assert "&lt;b&gt;.png" in page and "<b>.png" not in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)


def test_the_change_against_what_is_installed(capsys, tmp_path, result):
    installed(tmp_path / "c")
    _, page, _ = report(capsys, tmp_path, result)
    assert re.search(r"Against what is installed \(\d+ days old\)", page)
    assert "<td>camera_matrix[0][0]</td><td>500.5</td><td>499</td><td>+1.5</td>" in page
    assert "<td>held_out_px</td><td>0.3</td><td>0.2</td><td>+0.1</td>" in page
    assert "std.fx" not in page


def test_a_damaged_record_is_said_on_the_page(capsys, tmp_path, result):
    installed(tmp_path / "c")
    (tmp_path / "c" / "cam.camera.json").write_text("{")
    code, page, _ = report(capsys, tmp_path, result)
    assert code == 0 and "calibrate the device again" in page


def test_bad_input_is_one_sentence(capsys, tmp_path, result):
    code, _, err = report(capsys, tmp_path, result, tool="wheels")
    assert code == 2 and "calibrate camera report" in err and err.count("\n") == 1
    code, _, err = report(capsys, tmp_path, tmp_path / "none.json")
    assert code == 2 and "no such file" in err
    code, _, err = report(capsys, tmp_path, result, "--serial", "a/b")
    assert code == 0, "a serial that names no file has nothing installed"


def test_a_pipe_stays_a_pipe(tmp_path):
    """`--out /dev/stdout`: a rename would put a file where the device was."""
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, "whole")
    reader.join(10)
    assert got == ["whole"] and stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize(
    ("out", "other"), [("w.csv", "r.html"), ("v.json", "w.csv"), ("v.json", "v.json")]
)
def test_no_result_is_written_over_what_it_comes_from(
    capsys, tmp_path, out: str, other: str
) -> None:
    log = tmp_path / "w.csv"
    log.write_text("an hour of driving")
    where = ["--out", str(tmp_path / out), "--report", str(tmp_path / "." / other)]
    code = companion.main(["calibrate", "wheels", "solve", "--log", str(log), *where])
    assert code == 2 and "would be written over" in capsys.readouterr().err
    assert log.read_text() == "an hour of driving" and list(tmp_path.iterdir()) == [log]
