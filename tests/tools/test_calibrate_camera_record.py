"""`companion calibrate camera record`: guided pictures of the twin and of videos, that go on where they ended."""

import errno
import json
import re
import shutil
import threading
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from calibration.board import parse_board
from calibration.corners import detect
from calibration.guidance import Advice, Guide, Need
from runtime.body import load_body
from tools import companion
from tools.calibrate import camera_record
from tools.calibrate.board_cameras import TwinSource
from tools.calibrate.guidance_page import GuidancePage
from tools.twin.board_hand import Hand
from tools.twin.specimen import lens_of

TWIN_BOARD = "chessboard:6x4:40mm"


def record(capsys, *argv):
    code = companion.main(["calibrate", "camera", "record", "--headless", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def stop_after(monkeypatch):
    """Press Ctrl-C once so many pictures were read."""

    real = TwinSource.read

    def arm(count):
        left = [count]

        def read(self):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return real(self)

        monkeypatch.setattr(TwinSource, "read", read)

    return arm


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0])
def test_the_twin_s_lens_is_found(capsys, tmp_path, seed):
    folder = tmp_path / "my pictures"
    code, out, _ = record(capsys, "--out", folder, "--seed", seed)
    assert code == 0
    assert f"next: companion calibrate camera solve --images '{folder}'" in out
    noted = json.loads((folder / "record.json").read_text())
    assert noted["serial"] == f"twin-{seed}" and noted["board"] == TWIN_BOARD
    result = tmp_path / "r.json"
    solved = ["calibrate", "camera", "solve", "--images", str(folder), "--out", str(result)]
    assert companion.main(solved) in (0, 3)
    verdict = json.loads(result.read_text())
    assert verdict["device"] == f"twin-{seed}"
    assert verdict["quality"]["truth_projection_px"] <= 0.3
    installed = ["calibrate", "camera", "install", str(result), "--accept-marginal"]
    assert companion.main([*installed, "--folder", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / f"twin-{seed}.camera.json").is_file()
    code, out, _ = record(capsys, "--out", folder, "--seed", seed)
    assert code == 0 and "recorded 40 views" in out, "nothing is missing"


def test_it_is_stopped_and_goes_on(capsys, tmp_path, stop_after):
    folder = tmp_path / "r"
    stop_after(25)
    code, out, _ = record(capsys, "--out", folder)
    assert code == 3
    first = int(re.search(r"stopped: (\d+) views are kept", out)[1])
    assert "the same command goes on" in out and first >= 2
    before = {f.name: f.read_bytes() for f in folder.glob("view_*.png")}
    assert len(before) == first
    stop_after(25)
    code, out, _ = record(capsys, "--out", folder)
    after = {f.name: f.read_bytes() for f in folder.glob("view_*.png")}
    assert code == 3 and len(after) > first
    assert before.items() <= after.items()
    assert f"stopped: {len(after)} views" in out


def test_stopped_before_anything_was_taken_is_one_sentence(capsys, tmp_path, stop_after):
    stop_after(1)
    code, _, err = record(capsys, "--out", tmp_path / "r")
    assert code == 1 and "no picture was taken" in err.splitlines()[-1]


def test_a_full_disk_is_one_sentence_and_leaves_no_half(capsys, tmp_path, monkeypatch):
    folder, real = tmp_path / "r", type(tmp_path).write_bytes

    def write(self, content):
        if "view_001" in self.name:
            real(self, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, content)

    monkeypatch.setattr(type(tmp_path), "write_bytes", write)
    code, _, err = record(capsys, "--out", folder)
    assert code == 1
    last = err.splitlines()[-1]
    assert "No space left on device" in last and "1 views are kept" in last
    assert sorted(f.name for f in folder.iterdir()) == ["record.json", "view_000.png"]


def noted(folder, **changes):
    folder.mkdir()
    head = {"board": TWIN_BOARD, "serial": "twin-0", "camera": "twin", "body": "companion", "size": [128, 96], "date": "d"}  # fmt: skip
    (folder / "record.json").write_text(json.dumps(head | changes))


@pytest.mark.parametrize(
    ("changes", "argv", "says"),
    [
        ({}, ["--board", "chessboard:7x5:30mm"], "board chessboard:6x4:40mm, asked is chessboard:7x5"),
        ({}, ["--seed", "4"], "serial twin-0, asked is twin-4"),
        ({"size": [640, 480]}, [], "size 640x480, asked is 128x96"),
        ({"size": "large"}, [], "cannot be read"),
    ],
)  # fmt: skip
def test_another_recording_is_not_mixed_in(capsys, tmp_path, changes, argv, says):
    noted(tmp_path / "r", **changes)
    code, _, err = record(capsys, "--out", tmp_path / "r", *argv)
    assert code == 2 and says in err and err.count("\n") == 1
    assert [f.name for f in (tmp_path / "r").iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["--out", "mine"], 2, "holds other files"),
        (["--out", "mine/a.txt"], 2, "is a file"),
        (["--out", "r", "--page", "99999"], 2, "--page 99999"),
        (["--out", "r", "--seed", "-1"], 2, "--seed -1"),
        (["--out", "r", "--camera", "/dev/video99"], 2, "no camera or video /dev/video99"),
        (["--out", "r", "--camera", "mine/a.txt"], 2, "is no video"),
        (["--out", "r", "--board", "chessboard:6x4"], 1, "is not understood"),
        (["--out", "r", "--body", "compani"], 2, "did you mean companion?"),
    ],
)
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, argv, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("x")
    got, _, err = record(capsys, *argv)
    assert got == code and says in err and err.count("\n") == 1
    assert sorted(f.name for f in tmp_path.iterdir()) == ["mine"]


@pytest.fixture
def video(tmp_path):
    """A few frames of the hand, as a camera would have recorded them."""
    board = parse_board(TWIN_BOARD)
    hand, guide = Hand(board, lens_of(load_body("companion"), 5), 5), Guide(board, (128, 96))
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 30, (128, 96))  # fmt: skip
    for _ in range(30):
        image = hand.frame()
        writer.write(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))
        hand.follow(guide.look(detect(image, board)))
    writer.release()
    return tmp_path / "v.avi", guide.views


def test_a_video_gives_what_a_live_camera_would(capsys, tmp_path, video):
    file, views = video
    argv = ["--out", tmp_path / "r", "--camera", file, "--board", TWIN_BOARD]
    code, out, _ = record(capsys, *argv)
    assert code == 3
    assert f"the video ended: {views} views are kept" in out and "still missing: " in out
    assert json.loads((tmp_path / "r" / "record.json").read_text())["serial"] == ""
    code, _, err = record(capsys, *argv[:4], "--board", "chessboard:9x8:40mm", "--out", tmp_path / "s")  # fmt: skip
    assert code == 1 and "check --board chessboard:9x8:40mm" in err.splitlines()[-1]


def test_solve_needs_a_board_for_pictures_that_nobody_recorded(capsys, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((96, 128), np.uint8))
    code = companion.main(["calibrate", "camera", "solve", "--images", str(tmp_path)])
    assert code == 2 and "--board is missing" in capsys.readouterr().err


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def test_the_page_shows_the_state_and_the_picture():
    guide = Guide(parse_board(TWIN_BOARD), (128, 96))
    with GuidancePage(0) as page:
        assert fetch(page.url + "state.json") == b"{}" and fetch(page.url + "picture.jpg") == b""
        html = fetch(page.url).decode()
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", html), "no network is needed"
        advice = Advice("fill the lower right", True, False, 0.25, Need("cell", 24))
        page.show(np.zeros((96, 128), np.uint8), None, advice, guide)
        state = json.loads(fetch(page.url + "state.json"))
        assert state["text"] == "fill the lower right" and state["cell"] == 24
        assert len(state["cells"]) == 25 and len(state["tilts"]) == 4
        picture = cv2.imdecode(np.frombuffer(fetch(page.url + "picture.jpg?1"), np.uint8), 1)
        assert picture.shape == (480, 640, 3)
        with pytest.raises(urllib.error.HTTPError):
            fetch(page.url + "etc/passwd")
    with pytest.raises(urllib.error.URLError):
        fetch(page.url + "state.json")


def test_a_port_that_is_taken_is_named(capsys, tmp_path):
    with GuidancePage(0) as page:
        port = page.url.rsplit(":", 1)[1].strip("/")
        argv = ["calibrate", "camera", "record", "--out", str(tmp_path / "r"), "--page", port]
        assert companion.main(argv) == 2
    assert f"--page {port}: the port cannot be had" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_record_serves_its_page_while_it_looks(capsys, tmp_path, monkeypatch):
    found, real = [], camera_record.GuidancePage.show

    def show(self, *args):
        real(self, *args)
        if not found:
            thread = threading.Thread(target=lambda: found.append(fetch(self.url + "state.json")))
            thread.start()
            thread.join()
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(camera_record.GuidancePage, "show", show)
    code = companion.main(["calibrate", "camera", "record", "--out", str(tmp_path / "r")])
    assert code == 1 and "page: http://127.0.0.1:" in capsys.readouterr().out
    assert json.loads(found[0])["board"] == TWIN_BOARD


def test_a_terminal_has_one_line_and_a_bell(capsys, monkeypatch):
    guide = Guide(parse_board(TWIN_BOARD), (128, 96))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    line = camera_record.Line()
    line.show(Advice("hold still", False, False, 0.1, None), guide)
    line.show(Advice("fill the centre", True, False, 0.2, None), guide)
    line.end()
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.count("\r") == 2 and err.count("\a") == 1
    assert "\x1b" not in err


@pytest.mark.heavy
@pytest.mark.parametrize("width", [400, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(width, scheme):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine (.ci/run installs it)")
    guide, errors = Guide(parse_board(TWIN_BOARD), (128, 96)), []
    hand = Hand(guide.board, lens_of(load_body("companion"), 0), 0)
    with GuidancePage(0) as served, playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])  # fmt: skip
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("pageerror", lambda e: errors.append(str(e)))
        image = hand.frame()
        first = Advice("fill the lower right", False, False, 0.25, Need("cell", 24))
        served.show(image, detect(image, guide.board), first, guide)
        page.goto(served.url)
        page.wait_for_function("document.getElementById('text').textContent.includes('lower right')")  # fmt: skip
        page.wait_for_function("document.getElementById('picture').naturalWidth === 640")
        assert page.locator("#cover i.next").count() == page.locator("#grid i.next").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scroll"  # fmt: skip
        page.click("#sound")
        guide.keep(detect(image, guide.board))
        served.show(image, None, Advice("done", True, True, 1.0, None), guide)
        page.wait_for_selector(".say.done")
        assert page.locator("#cover i.on").count() > 0
        browser.close()
    assert errors == []
