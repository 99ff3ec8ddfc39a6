"""`companion model train` refuses in its arguments what could only fail hours later."""

from pathlib import Path

import pytest

from tools.companion import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--name", ""), "no name of a bundle"),
        (("--name", ".."), "no name of a bundle"),
        (("--name", "a/b"), "no name of a bundle"),
        (("--name", "a\\b"), "no name of a bundle"),
        (("--name", "my robot"), "no name of a bundle"),
        (("--length", "15"), "from 16 to 388"),
        (("--length", "389"), "from 16 to 388"),
        (("--seed=-1",), "from 0 to"),
        (("--seed", "99999999999"), "from 0 to"),
        (("--finder-updates", "0"), "no count"),
        (("--people-updates=-3",), "no count"),
        (("--policy-rounds=-1",), "from 0 to"),
        (("--device", "tpu"), "invalid choice"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["model", "train", "--work", str(tmp_path / "work"), *words])
    assert ended.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
