"""Readers of the machine's state, on made-up /proc and /sys trees."""

from pathlib import Path

import pytest

from runtime.machine import LinuxMachine, SteadyMachine

SECOND = 1_000_000_000


def tree(root: Path, available_kb: int = 2048, zones: dict[str, str] | None = None) -> Path:
    (root / "proc").mkdir()
    (root / "proc/meminfo").write_text(
        f"MemTotal:       8000000 kB\nMemFree:         100 kB\nMemAvailable:   {available_kb} kB\n"
    )
    for name, text in (zones or {}).items():
        folder = root / "sys/class/thermal" / name
        folder.mkdir(parents=True)
        (folder / "temp").write_text(text)
    return root


def test_available_memory_is_read_not_free_memory(tmp_path: Path) -> None:
    state = LinuxMachine(tmp_path, tree(tmp_path, 3_145_728)).read(0)
    assert state.memory_mb == pytest.approx(3072)
    assert state.disk_mb > 0


def test_a_folder_that_was_cleared_away_has_the_room_of_its_disk(tmp_path: Path) -> None:
    gone = LinuxMachine(tmp_path / "runs" / "gone", tree(tmp_path)).read(0)
    assert gone.disk_mb == pytest.approx(LinuxMachine(tmp_path, tmp_path).read(0).disk_mb, rel=0.1)


def test_an_absent_sensor_is_none_never_zero(tmp_path: Path) -> None:
    assert LinuxMachine(tmp_path, tree(tmp_path)).read(0).temperature_c is None


def test_the_hottest_zone_counts_and_a_broken_one_is_left_out(tmp_path: Path) -> None:
    zones = {"thermal_zone0": "41000\n", "thermal_zone1": "73500\n", "thermal_zone2": "N/A\n"}
    assert LinuxMachine(tmp_path, tree(tmp_path, zones=zones)).read(0).temperature_c == 73.5


def test_a_zone_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    root = tree(tmp_path, zones={"thermal_zone0": "50000"})
    (root / "sys/class/thermal/thermal_zone1/temp").mkdir(parents=True)
    assert LinuxMachine(tmp_path, root).read(0).temperature_c == 50.0


def test_the_tree_is_read_once_a_second(tmp_path: Path) -> None:
    machine = LinuxMachine(tmp_path, tree(tmp_path, zones={"thermal_zone0": "50000"}))
    assert machine.read(0).temperature_c == 50.0
    (tmp_path / "sys/class/thermal/thermal_zone0/temp").write_text("91000")
    assert machine.read(SECOND - 1).temperature_c == 50.0
    assert machine.read(SECOND).temperature_c == 91.0


def test_lockstep_sees_a_machine_that_never_changes() -> None:
    assert SteadyMachine().read(0) == SteadyMachine().read(10**12)
