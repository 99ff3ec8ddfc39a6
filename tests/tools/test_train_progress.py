"""Losses of a training that was interrupted: every update once."""

from pathlib import Path

from tools.train.progress import Progress


def updates(stem: Path) -> list[str]:
    return [line.split(",")[0] for line in stem.with_suffix(".csv").read_text().splitlines()]


def test_what_is_done_again_has_one_row(tmp_path: Path) -> None:
    stem = tmp_path / "losses"
    for start, reports in ((0, (100, 200, 300)), (200, (300, 400)), (400, (500,))):
        progress = Progress(stem, 1000, start, lambda _: None)
        for update in reports:
            progress(update, {"a": 1.0})
    with stem.with_suffix(".csv").open("a") as file:
        file.write("60")  # cut
    Progress(stem, 1000, 500, lambda _: None)
    assert updates(stem) == ["update", "100", "200", "300", "400", "500"]
    Progress(stem, 1000, 0, lambda _: None)(100, {"other": 1.0})
    assert updates(stem) == ["update", "100"]
