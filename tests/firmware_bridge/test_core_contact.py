"""Contact is current against measured acceleration: pushed, and no speed gained."""

from __future__ import annotations

import pytest

from firmware_bridge.protocol import Fault, Param


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("measured", "current", "fault"),
    [(4099, 1201, Fault.CONTACT), (4100, 1201, 0), (4099, 1200, 0), (4099, -1201, 0), (0, 1201, Fault.STALLED),
     (112, 1201, Fault.CONTACT)],
)  # fmt: skip
def test_thresholds_of_a_shove(wire, measured, current, fault, sign):
    """Behind the command by more than a tenth of top speed, with more than 30 % of the current."""
    wire.rolling(sign * 5000)
    wire.ideal = False
    wire.sensors["velocity_mrad_s"][0] = sign * measured
    wire.sensors["current_ma"][0] = sign * current
    wire.run(60)
    assert wire.latched == fault


@pytest.mark.parametrize(("gain", "fault"), [(180, Fault.CONTACT), (181, 0)])
def test_a_wheel_that_catches_up_is_not_shoved(wire, gain, fault):
    """More than a fiftieth of top speed gained within the time forgives."""
    wire.rolling(9000)
    wire.ideal = False
    wire.sensors["current_ma"][0] = 1500
    for step in range(24):
        wire.sensors["velocity_mrad_s"][0] = 2000 + gain * (step // 3)
        wire.run(2)
    assert wire.latched == fault


@pytest.mark.parametrize("current", [5000, 5001])
def test_a_wheel_that_gains_speed_is_not_in_contact_but_may_be_over_its_current(wire, current):
    wire.rolling(5000)
    wire.ideal = False
    wire.sensors["current_ma"][0] = current
    for step in range(60):
        wire.sensors["velocity_mrad_s"][0] = 4200 + 451 * step
        wire.run(2)
    assert wire.latched == (0 if current == 5000 else Fault.OVERCURRENT)


@pytest.mark.parametrize(("gain", "fault"), [(450, Fault.CONTACT), (451, 0)])
@pytest.mark.parametrize("sign", [1, -1])
def test_contact_forgives_a_gain_of_a_twentieth_of_top_speed(wire, gain, fault, sign):
    wire.rolling(sign * 5000)
    wire.ideal = False
    wire.sensors["current_ma"][1] = sign * 3500
    for step in range(40):
        wire.sensors["velocity_mrad_s"][1] = sign * (5000 + gain * (step // 8))
        wire.run(2)
    assert wire.latched == fault


@pytest.mark.parametrize("sign", [1, -1])
def test_losing_speed_while_pushing_hard_is_contact_from_the_first_sample(wire, sign):
    wire.rolling(sign * 5000)
    wire.ideal = False
    wire.sensors["current_ma"][1] = sign * 3201
    for step in range(10):
        assert wire.latched == 0
        wire.sensors["velocity_mrad_s"][1] = sign * (9000 - 400 * step)
        wire.run(2)
    assert wire.latched == Fault.CONTACT


def test_gain_counts_from_the_first_sample_of_the_push(wire):
    wire.rolling(5000)
    wire.ideal = False
    wire.sensors["current_ma"][1] = 3201
    for speed in (5000, 5200, *[5451] * 9):
        wire.sensors["velocity_mrad_s"][1] = speed
        wire.run(2)
    assert wire.latched == 0
    assert wire.run(2).latched == Fault.CONTACT


def test_gain_counts_from_the_least_speed(wire):
    """A dip and the way out of it: 451 above the dip, not above the beginning."""
    wire.rolling(5000)
    wire.ideal = False
    wire.sensors["current_ma"][1] = 3201
    for speed in (5000, 5000, 4800, 4600, 4600, 4600, 4600, 4600, 4600):
        wire.sensors["velocity_mrad_s"][1] = speed
        wire.run(2)
    wire.sensors["velocity_mrad_s"][1] = 5051
    wire.run(18)
    assert wire.latched == 0
    wire.run(2)
    assert wire.latched == Fault.CONTACT


@pytest.mark.parametrize(("permille", "current"), [(300, 1200), (800, 3200)])
def test_contact_counts_from_what_the_host_asks(wire, permille, current):
    wire.opened()
    wire.set_param(Param.CONTACT_PERMILLE, permille)
    wire.rolling(5000)
    wire.sensors["current_ma"][0] = current
    wire.run(100)
    assert wire.latched == 0
    wire.sensors["current_ma"][0] = current + 1
    wire.run(100)
    assert wire.latched == Fault.CONTACT


def test_contact_counts_from_the_current_the_host_allows(wire):
    wire.opened()
    wire.set_param(Param.CURRENT_PERMILLE, 500)
    wire.rolling(5000)
    wire.sensors["current_ma"][0] = 1601
    wire.run(60)
    assert wire.latched == Fault.CONTACT


@pytest.mark.parametrize("fast", [2**31 - 1, -(2**31)])
@pytest.mark.parametrize("current", [1500, -1500])
def test_speeds_that_no_wheel_has_overflow_nothing(wire, fast, current):
    """An encoder that tells nonsense, and then the opposite of it (found by fuzzing, as undefined)."""
    wire.rolling(5000)
    wire.ideal = False
    wire.sensors["current_ma"][0] = current
    for step in range(60):
        wire.sensors["velocity_mrad_s"][0] = fast if step % 2 else -fast - 1
        wire.run(2)
    assert wire.latched == 0
