"""The body file: strict, and everything that derives from it is consistent."""

from pathlib import Path

import pytest

from firmware_bridge.errors import LimitError
from firmware_bridge.limits import JointCommand
from runtime.body import BODIES, load_body
from runtime.errors import ConfigError

TEXT = (BODIES / "companion.toml").read_text()


def changed(tmp_path: Path, old: str, new: str, count: int = 1) -> str:
    assert old in TEXT
    file = tmp_path / "robot.toml"
    file.write_text(TEXT.replace(old, new, count))
    return str(file)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("control_hz = 100", "control_hz = 100\ncolour = 3", "unknown field `colour`"),
        ("track_width_m", "track_with_m", "track_with_m"),
        ("control_hz = 100", 'control_hz = "fast"', "`int`"),
        ("schema = 1", "schema = 2", "schema"),
        ("wheel_radius_m = 0.075", "wheel_radius_m = -1.0", "wheel_radius_m"),
        ("motion_ttl_ms = 60", "motion_ttl_ms = 5000", "motion_ttl_ms"),
        ('command = "velocity"', 'command = "torque"', "command"),
        ("schema = 1", "schema = ", "robot.toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(ConfigError, match="mend the file") as caught:
        load_body(changed(tmp_path, old, new))
    assert says in str(caught.value)


def test_an_unknown_joint_of_the_policy_lists_the_joints(tmp_path: Path) -> None:
    file = changed(tmp_path, '"head_yaw", "head_pitch"]', '"head_yaw", "tail"]')
    with pytest.raises(ConfigError, match=r"names tail; the joints are wheel_left, wheel_right"):
        load_body(file)


def test_an_unknown_body_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="known bodies are companion; did you mean companion"):
        load_body("companio")
    with pytest.raises(ConfigError, match="known bodies are companion$"):
        load_body("/nowhere/else.toml")


def test_the_limit_table_is_the_file() -> None:
    body = load_body("companion")
    table = body.limit_table()
    counts = table.counts()
    assert [j.name for j in table.joints] == list(body.joint_names)
    assert table.control_hz == body.control_hz and table.imu_hz == body.imu_hz
    for joint, limit, count in zip(body.joint, table.joints, counts, strict=True):
        assert limit.command is JointCommand[joint.command.upper()]
        assert count.velocity_max * joint.scale == pytest.approx(joint.velocity_max_rad_s)
        assert count.current_max_ma == round(joint.current_max_a * 1000)
        if joint.command == "position":
            assert count.position_min * joint.scale >= joint.position_min_rad - 1e-9
            assert count.position_max * joint.scale <= joint.position_max_rad + 1e-9


def test_every_limit_changes_the_layout_that_both_ends_compare(tmp_path: Path) -> None:
    plain = load_body("companion").limit_table().crc()
    for key in ("velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3", "stop_deceleration_rad_s2", "current_max_a"):  # fmt: skip
        line = next(row for row in TEXT.splitlines() if row.startswith(key))
        other = load_body(changed(tmp_path, line, f"{key} = 1.25")).limit_table()
        assert other.crc() != plain, key


def test_limits_that_do_not_fit_the_wire_are_refused(tmp_path: Path) -> None:
    file = changed(tmp_path, "velocity_max_rad_s = 9.0", "velocity_max_rad_s = 90.0")
    with pytest.raises(LimitError, match="wheel_left: 90000 counts"):
        load_body(file).limit_table().counts()


def test_the_layout_is_the_files_policy() -> None:
    body = load_body("companion")
    layout = body.layout()
    assert tuple(j.name for j in layout.joints) == body.policy.actions
    for joint in layout.joints:
        assert body.joint[joint.index].name == joint.name
        assert body.joint[joint.index].velocity_max_rad_s == joint.velocity_max_rad_s


def test_without_safety_inputs_the_base_is_slow(tmp_path: Path) -> None:
    seeing = load_body("companion")
    assert seeing.speed_cap_m_s == seeing.motion.speed_max_m_s
    for old, new in (("bumper = true", "bumper = false"), ("range_front = true", "range_front = false"), ('cliff = ["left", "right"]', "cliff = []")):  # fmt: skip
        assert load_body(changed(tmp_path, old, new)).speed_cap_m_s == pytest.approx(0.2)


def test_the_wheels_stop_within_230_ms_of_the_last_command() -> None:
    body = load_body("companion")
    wheels = [j for j in body.joint if j.command == "velocity"]
    assert len(wheels) == 2
    for wheel in wheels:
        ramp_ms = 1000 * wheel.velocity_max_rad_s / wheel.stop_deceleration_rad_s2
        assert body.motion.motion_ttl_ms + ramp_ms <= 230


def test_the_top_wheel_speed_is_the_bodys_speed_cap() -> None:
    body = load_body("companion")
    rim_m_s = body.joint[0].velocity_max_rad_s * body.geometry.wheel_radius_m
    assert rim_m_s == pytest.approx(body.motion.speed_max_m_s)


@pytest.mark.parametrize(("low_v", "holds"), [("12.3", False), ("12.4", False), ("12.5", True), ("0.0", True)])  # fmt: skip
def test_a_battery_is_low_before_the_motor_controller_stops(tmp_path: Path, low_v, holds) -> None:
    file = changed(tmp_path, "low_v = 13.0", f"low_v = {low_v}")
    if holds:
        assert load_body(file).battery.low_v == float(low_v)
        return
    with pytest.raises(ConfigError, match=rf"low_v = {low_v} is not above battery.brown_out_v = 12.4"):  # fmt: skip
        load_body(file)
