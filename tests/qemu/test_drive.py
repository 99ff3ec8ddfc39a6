"""A run of the whole twin through the ARM image: in real time, so nothing else may run beside it."""

from __future__ import annotations

import json

from tests.standstill import undisturbed


@undisturbed
def test_the_whole_twin_drives_through_the_arm_image(firmware, companion, tmp_path):
    report = tmp_path / "report.json"
    result = companion(
        "run", "--firmware", "qemu", "--headless", "--duration", "10",
        "--record", tmp_path / "run", "--report", report, timeout=200,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    told = json.loads(report.read_text())
    assert told["firmware"] == "qemu" and told["commands_sent"] > 500
    assert told["mode_final"] == "active" and told["frames"] > 150, told["events"]
