"""A hand turns the twin through the poses that are asked for; what its IMU really is, is known."""

import json
import shutil
import urllib.request

import numpy as np
import pytest

pytest.importorskip("mujoco")

from calibration.pose_guidance import PoseAdvice, PoseGuide
from firmware_bridge.transport import LockstepTransport
from tools import companion
from tools.calibrate import imu_multi_record
from tools.calibrate.pose_page import PosePage

SEED = 3


def calibrate(capsys, *argv) -> tuple[int, str, str]:
    code = companion.main(["calibrate", "imu-multi", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def poses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("poses") / "poses"
    argv = ["calibrate", "imu-multi", "record", "--out", str(folder), "--seed", str(SEED), "--headless"]  # fmt: skip
    assert companion.main(argv) == 0
    return folder


def test_the_twins_scale_axes_and_bias_are_found(capsys, tmp_path, poses) -> None:
    report = tmp_path / "r.html"
    code, out, _ = calibrate(capsys, "solve", "--record", poses, "--json", "--report", report)
    verdict = json.loads(out)
    assert (code, verdict["verdict"], verdict["device"]) == (0, "PASS", f"twin-{SEED}")
    truth = json.loads((poses / "record.json").read_text())["truth"]
    for kind in ("accel", "gyro"):
        found, std = verdict["result"][kind], verdict["result"][kind]["std"]
        matrix = np.array(truth[kind]["matrix"])
        scale = 1 / np.diag(matrix)
        assert np.abs(scale - 1).max() > 2e-3, "the specimen's scale is off, or this shows nothing"
        for value, true, sigma in (
            (found["inverse_scale"], scale, std["inverse_scale"]),
            (found["bias"], truth[kind]["bias"], std["bias"]),
            (found["misalignment"], matrix * scale, std["misalignment"]),
        ):
            assert (np.abs(np.array(value) - true) < 3.5 * np.array(sigma) + 1e-9).all()
    quality = verdict["quality"]
    assert quality["truth_accel_scale_percent"] < 0.05 and quality["truth_gyro_scale_percent"] < 0.1
    assert quality["poses"] >= 24 and quality["cells_of_32"] >= 24
    assert report.read_text().count("<svg") == 4


def test_bad_use_is_one_sentence(capsys, tmp_path, poses) -> None:
    for argv, says, exit_code in (
        (["solve"], "give --record DIR, or both", 2),
        (["solve", "--record", poses, "--accel", "x"], "without --accel and --gyro", 2),
        (["solve", "--record", tmp_path], "is no recording of poses", 1),
        (["record", "--out", poses], "is not empty", 2),
        (["record", "--out", tmp_path / "x", "--page", "70000"], "give a port from 1 to 65535", 2),
        (["record", "--out", tmp_path / "x", "--port", "/dev/nothing"], "/dev/nothing", 1),
    ):
        code, _, err = calibrate(capsys, *argv)
        assert code == exit_code and says in err and err.count("\n") == 1, err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("after", "kept"), [(3000, False), (11500, True)])
def test_ctrl_c_keeps_what_can_be_solved(capsys, tmp_path, monkeypatch, after, kept) -> None:
    fed = []

    class Stopped(PoseGuide):
        def feed(self, *batch):
            fed.append(1)
            if len(fed) > after:
                raise KeyboardInterrupt
            return super().feed(*batch)

    monkeypatch.setattr(imu_multi_record, "PoseGuide", Stopped)
    out = tmp_path / "p"
    code, said, err = calibrate(capsys, "record", "--out", out, "--seed", SEED, "--headless")
    assert code == (3 if kept else 1), err
    assert out.exists() is kept
    if kept:
        assert "stopped; recorded" in said
        code, said, _ = calibrate(capsys, "solve", "--record", out)
        assert code != 0 and "wanted" in said + _ or "no pose with" in said
    else:
        assert "nothing is kept" in err


@pytest.mark.parametrize(("after", "kept"), [(300, False), (11500, True)])
def test_a_board_that_falls_silent_is_told(capsys, tmp_path, monkeypatch, after, kept) -> None:
    read, reads = LockstepTransport.read_into, []

    def unplugged(wire, buffer):
        reads.append(1)
        return 0 if len(reads) > after else read(wire, buffer)

    monkeypatch.setattr(LockstepTransport, "read_into", unplugged)
    out = tmp_path / "p"
    code, said, err = calibrate(capsys, "record", "--out", out, "--seed", SEED, "--headless")
    assert "says nothing any more: see to its cable" in said + err
    assert out.exists() is kept and code == (3 if kept else 1)


def test_the_page_tells_what_the_terminal_tells() -> None:
    guide = PoseGuide(0.01)
    with PosePage(0) as page:
        advice = guide.feed(np.zeros((5, 3)), np.tile((0, 0, 9.8), (5, 1)))
        page.show(advice, guide)
        state = json.load(urllib.request.urlopen(page.url + "state.json"))
        assert state["text"] == advice.text and len(state["cells"]) == len(state["shown"]) == 32
        assert state["up"] == [0, 0, 1] and not state["done"]
        html = urllib.request.urlopen(page.url).read().decode()
        assert "Calibrate the IMU" in html
        html += urllib.request.urlopen(page.url + "guidance.js").read().decode()
    for key in ("text", "share", "poses", "wanted", "still", "held", "up", "target", "cells", "shown", "done"):  # fmt: skip
        assert f"state.{key}" in html, "the page reads all that it is told"


@pytest.mark.heavy
@pytest.mark.parametrize("width", [400, 1100])
def test_the_page_in_a_browser(width, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine (.ci/run installs it)")
    guide, errors = PoseGuide(0.01), []
    up, target = np.array([0.0, 0, 1]), np.array([1.0, 0, 0])
    first = PoseAdvice("stand it on its back, nose up", False, False, 0.1, True, 0.5, up, target)
    with PosePage(0) as served, playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])  # fmt: skip
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("pageerror", lambda e: errors.append(str(e)))
        served.show(first, guide)
        page.goto(served.url)
        page.wait_for_function("document.getElementById('text').textContent.includes('nose up')")
        assert page.locator("#state").text_content() == "still"
        assert page.locator("#held").evaluate("e => e.value") == 0.5
        drawn = "[...document.getElementById('sphere').getContext('2d').getImageData(0, 0, 1080, 600).data].some((v) => v)"  # fmt: skip
        assert page.evaluate(drawn), "the sphere is drawn"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scroll"  # fmt: skip
        page.screenshot(path=tmp_path / "poses.png")
        served.show(PoseAdvice("done", True, True, 1.0, True, 1.0, up, None), guide)
        page.wait_for_selector(".say.done")
        browser.close()
    assert errors == []
