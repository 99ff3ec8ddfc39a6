"""Foresight in the whole chain: asked while it drives, and its word reaches the wheels."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

from runtime.foresight import Foresight, Moment
from runtime.log import Arrays
from runtime.modes import Mode
from runtime.skills import SKILLS
from runtime.supervisor import WITHOUT
from tools import processes
from tools.compose import RunSettings, load_policy, open_world, prepare
from tools.lockstep_run import LockstepRun


@pytest.mark.parametrize(
    ("most", "says"), [(16, "give --foresight 16 or less"), (0, "too slow for any")]
)
def test_where_there_is_no_time_for_it_the_policy_drives_alone(
    monkeypatch, most: int, says: str
) -> None:
    """A belief that came late would hold the robot; what is told slows nothing."""
    told: list[tuple[str, str]] = []
    parent: Any = SimpleNamespace(hear=lambda kind, text: told.append((kind, text)))
    took_us = 20_000.0
    found: Any = SimpleNamespace(fits=lambda _clock: (took_us, most))
    monkeypatch.setattr(processes, "open_foresight", lambda _setup, _world: found)
    setup, world = prepare(RunSettings(foresight=32)), None
    assert processes.affordable_foresight(setup, world, parent) is found and not told  # type: ignore[arg-type]
    took_us = 98_000.0
    assert processes.affordable_foresight(setup, world, parent) is None  # type: ignore[arg-type]
    ((kind, text),) = told
    assert kind in WITHOUT and says in text and "32 variations take 98 ms" in text


Asked = list[tuple[int, np.ndarray, float]]


def followed(monkeypatch: pytest.MonkeyPatch, forward: float) -> tuple[Arrays, Asked, LockstepRun]:
    """Two seconds of following, with a foresight whose word is always the same."""
    asked: Asked = []

    def step(_self: Any, now: Moment) -> float:
        asked.append((now.skill, now.sent.copy(), now.cap_m_s))
        return forward

    monkeypatch.setattr(Foresight, "step", step)
    setup = prepare(RunSettings(seed=4, lockstep=True, scenario="easy", foresight=8))
    run = LockstepRun(setup, open_world(setup)[0], load_policy(setup)[0])
    return run.run(2.0).records, asked, run


def test_its_word_reaches_the_wheels_while_it_drives_and_never_else(monkeypatch) -> None:
    plain, _, _ = followed(monkeypatch, 0.0)
    records, asked, run = followed(monkeypatch, -0.05)
    words, status = records["correction"], records["status"]
    assert len(words) == len(asked) >= 30
    assert {skill for skill, _, _ in asked} == {SKILLS["follow"].index}
    assert [cap for _, _, cap in asked] == pytest.approx(
        [run.setup.body.speed_cap_m_s] * len(asked)
    )
    assert any(sent.any() for _, sent, _ in asked), "what is being sent is known"
    began = status["t_ns"][status["mode"] == Mode.ACTIVE][0]
    assert words["t_ns"][0] >= began, "nothing is imagined for a robot that stands"
    n = min(len(plain["sent"]), len(records["sent"]))
    wanted = records["sent"]["wanted"][:n] - plain["sent"]["wanted"][:n]
    first = int(np.flatnonzero(np.abs(wanted).max(1) > 0)[0])
    assert records["sent"]["t_ns"][first] >= words["t_ns"][0]
    assert wanted[first][:4] == pytest.approx((-0.05, -0.05, 0, 0), abs=1e-6)
