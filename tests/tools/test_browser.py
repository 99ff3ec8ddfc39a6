"""The page in a real browser, against a real run: sees, stops, re-arms, drives, survives a phone.

Screenshots go to build/screenshots, to be looked at.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standstill import undisturbed

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (it is in .ci/run)"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-sync",
    "--no-first-run",
]

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium on this machine (.ci/run installs it)"
    ),
]


RUN: dict[str, int] = {}


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """A real run with its page; ended with Ctrl-C."""
    folder = tmp_path_factory.mktemp("run")
    run = subprocess.Popen(
        [sys.executable, "-m", "tools.companion", "run", "--record", str(folder), "--seed", "1"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    RUN["pid"] = run.pid
    found = None
    while found is None:
        line = run.stdout.readline()
        assert line, "the run ended before it printed its page"
        found = re.search(r"http://\S+", line)
    yield found.group(0)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    assert run.returncode == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as p:
        opened = p.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, url) -> Iterator[object]:
    opened = browser.new_page(viewport={"width": 1180, "height": 1000})
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(url)
    opened.wait_for_function("document.getElementById('mode').textContent !== 'connecting'")
    yield opened
    opened.close()
    assert not problems


def wait_mode(page, mode: str, seconds: float = 15.0) -> None:
    page.wait_for_function(
        f"document.getElementById('mode').textContent === '{mode}'", timeout=seconds * 1000
    )


def shoot(page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SHOTS / f"{name}.png"), full_page=True)


def state(url: str) -> dict:
    with urllib.request.urlopen(f"{url}api/state", timeout=3) as answer:
        return json.load(answer)


def wheels(url: str) -> float:
    return max(abs(j["velocity_rad_s"]) for j in state(url)["joints"][:2])


def rearm(page) -> None:
    box = page.locator("#rearm").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 12)
    page.mouse.down()
    time.sleep(2.5)
    page.mouse.up()


def ready(page, url: str, mode: str) -> None:
    """In that mode, also where an earlier test, or a machine that stood still, left another."""
    deadline = time.monotonic() + 60
    while (now := state(url)["mode"]) != mode:
        assert time.monotonic() < deadline, f"{now}, not {mode}: {state(url)['conditions']}"
        if now == "stopped":
            rearm(page)
        elif now == "idle":
            page.click("#skills button:has-text('follow')")
            page.click("#engage")
        elif now == "active":
            page.click("#disengage")
        time.sleep(0.5)
    wait_mode(page, mode)


@undisturbed
def test_1_shows_target_pictures_and_conditions(page, url) -> None:
    ready(page, url, "active")
    time.sleep(1.5)
    assert page.inner_text("#target") == "TWIN"
    assert page.inner_text("#robot") == "companion"
    assert page.locator("#conditions li").count() >= 10
    colours = "id => { const d = document.getElementById(id).getContext('2d').getImageData(0,0,64,64).data; return new Set(d).size }"
    assert page.evaluate(colours, "seen") > 20, "the picture seen is not drawn"
    assert page.evaluate(colours, "expected") > 20, "the expected picture is not drawn"
    shoot(page, "active")


@undisturbed
def test_2_stop_latches_and_only_a_press_and_hold_rearms(page, url) -> None:
    ready(page, url, "active")
    page.click("#stop")
    wait_mode(page, "stopped", 3)
    time.sleep(0.6)
    assert wheels(url) < 0.1
    page.click("#engage")
    page.click("#rearm")
    time.sleep(1.0)
    assert page.inner_text("#mode") == "stopped", "a click must not re-arm"
    shoot(page, "stopped")
    rearm(page)
    wait_mode(page, "idle", 3)


@undisturbed
def test_3_arrow_keys_drive_while_held(page, url) -> None:
    ready(page, url, "idle")
    page.keyboard.down("ArrowUp")
    time.sleep(1.0)
    driven = wheels(url)
    shoot(page, "teleop")
    page.keyboard.up("ArrowUp")
    time.sleep(0.8)
    assert driven > 1.0
    assert wheels(url) < 0.1
    wait_mode(page, "idle")


@undisturbed
def test_3b_a_key_held_through_a_stop_moves_nothing_when_it_is_rearmed(browser, page, url) -> None:
    ready(page, url, "idle")
    page.keyboard.down("ArrowUp")
    wait_mode(page, "teleop", 5)
    request = urllib.request.Request(f"{url}api/stop", method="POST")
    urllib.request.urlopen(request, timeout=3).close()
    wait_mode(page, "stopped", 3)
    other = browser.new_page()
    other.goto(url)
    wait_mode(other, "stopped", 5)
    rearm(other)
    wait_mode(other, "idle", 5)
    time.sleep(0.7)
    assert state(url)["mode"] == "idle" and wheels(url) < 0.1
    other.close()
    assert page.locator("#pad.held").count() == 0, "the page itself has let go"
    page.keyboard.up("ArrowUp")
    time.sleep(0.4)
    page.keyboard.down("ArrowUp")
    wait_mode(page, "teleop", 5)
    page.keyboard.up("ArrowUp")
    wait_mode(page, "idle", 5)


@undisturbed
def test_3c_a_silent_link_is_told_and_a_stop_goes_out_again(page, url) -> None:
    """The page's server stands still for less than the supervisor allows: no socket closes."""
    ready(page, url, "idle")
    children = Path(f"/proc/{RUN['pid']}/task/{RUN['pid']}/children").read_text().split()
    console = next(
        int(p) for p in children if Path(f"/proc/{p}/comm").read_text() == "cmp-console\n"
    )
    os.kill(console, signal.SIGSTOP)
    try:
        wait_mode(page, "no connection", 2)
        page.click("#stop")
        page.wait_for_selector("#unconfirmed", state="visible", timeout=1200)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(console, signal.SIGCONT)
    wait_mode(page, "stopped", 10)
    page.wait_for_selector("#unconfirmed", state="hidden", timeout=3000)
    rearm(page)
    wait_mode(page, "idle", 5)


@undisturbed
def test_4_a_page_that_vanishes_drives_nothing(browser, url) -> None:
    page = browser.new_page()
    page.goto(url)
    ready(page, url, "idle")
    page.keyboard.down("ArrowDown")
    time.sleep(0.8)
    page.close()
    time.sleep(0.8)
    assert wheels(url) < 0.1
    assert state(url)["mode"] == "idle"


@undisturbed
def test_5_skill_and_engage(page, url) -> None:
    ready(page, url, "idle")
    page.click("#skills button:has-text('idle')")
    page.click("#engage")
    wait_mode(page, "active", 5)
    page.wait_for_function("document.getElementById('doing').textContent.startsWith('idle')")
    page.click("#disengage")
    wait_mode(page, "idle", 5)


@undisturbed
def test_6_readable_on_a_phone(browser, url) -> None:
    page = browser.new_page(
        viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True
    )
    page.goto(url)
    ready(page, url, "idle")
    time.sleep(1.0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "it scrolls sideways"
    )
    box = page.locator("#stop").bounding_box()
    assert box["height"] >= 40
    assert box["y"] < 120, "STOP is in sight"
    shoot(page, "phone")
    page.close()


def test_7_another_sites_page_may_not_stop_or_drive(url) -> None:
    request = urllib.request.Request(
        f"{url}api/stop", method="POST", headers={"Origin": "http://evil.example"}
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=3)
    assert error.value.code == 403
    error.value.close()


def test_8_stop_by_http(url) -> None:
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}api/stop", method="POST"), timeout=3
    ) as answer:
        assert json.load(answer) == {"stopped": True}
    time.sleep(0.5)
    assert state(url)["mode"] == "stopped"
