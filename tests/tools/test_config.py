"""robot.toml and `companion config`: strict, and what holds can be seen."""

import json
from pathlib import Path

import msgspec
import pytest

from runtime.body import BODIES, Body, load_body
from runtime.errors import ConfigError
from tools import companion, config
from tools.config import RobotConfig, load_robot


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(config, "PLACES", (tmp_path / "etc/robot.toml", tmp_path / "home/robot.toml"))  # fmt: skip


def write(tmp_path: Path, text: str, folder: str = "") -> Path:
    file = tmp_path / folder / "robot.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_without_a_file_the_defaults_hold() -> None:
    assert load_robot(None) == (RobotConfig(), "defaults")


def test_the_defaults_are_the_safe_ones() -> None:
    robot = RobotConfig()
    assert robot.needs_operator and not robot.allow_development_key
    assert robot.planner == ""


def test_the_systems_file_wins_over_the_users(tmp_path) -> None:
    write(tmp_path, 'name = "mine"', "home")
    assert load_robot(None)[0].name == "mine"
    system = write(tmp_path, 'name = "fleet"', "etc")
    robot, origin = load_robot(None)
    assert robot.name == "fleet" and origin == str(system)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('camra = "0"', "unknown key camra: valid are name, body, port, camera.*did you mean camera"),
        ("colour = 3", "unknown key colour: valid are name, body"),
        ("allow_development_key = 1", "Expected `bool`, got `int` - at `\\$.allow_development_key`"),
        ("port = ", "mend the file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_robot(write(tmp_path, text))
    assert str(tmp_path) in str(caught.value)


def test_show_is_toml_that_reads_back(tmp_path, capsys) -> None:
    file = write(tmp_path, 'name = "rosie"\nneeds_operator = false\n')
    assert companion.main(["config", "show", "--config", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"# from {file}\n")
    shown = msgspec.toml.decode(out)
    assert shown["robot"]["name"] == "rosie" and shown["robot"]["needs_operator"] is False
    assert msgspec.convert(shown["body"], Body) == load_body("companion")


def test_show_as_json_is_the_same(tmp_path, capsys) -> None:
    assert companion.main(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["origin"] == "defaults"
    assert shown["body"]["name"] == "companion" and len(shown["body"]["joint"]) == 6


def test_check_says_how_soon_the_wheels_stop(capsys) -> None:
    assert companion.main(["config", "check"]) == 0
    assert "6 joints, stops in 196 ms" in capsys.readouterr().out


def test_check_refuses_a_body_that_stops_too_late(tmp_path, capsys) -> None:
    text = (
        (BODIES / "companion.toml").read_text().replace("motion_ttl_ms = 60", "motion_ttl_ms = 100")
    )
    (tmp_path / "slow.toml").write_text(text)
    file = write(tmp_path, f'body = "{tmp_path / "slow.toml"}"')
    assert companion.main(["config", "check", "--config", str(file)]) == 2
    said = capsys.readouterr()
    assert "take 236 ms to stop after the last command, allowed 230" in said.err and not said.out


def test_check_refuses_an_unknown_body(tmp_path, capsys) -> None:
    file = write(tmp_path, 'body = "companio"')
    assert companion.main(["config", "check", "--config", str(file)]) == 2
    assert "did you mean companion?" in capsys.readouterr().err
