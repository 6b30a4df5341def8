"""Which optional packages are there: a folder of that name is none, and a part of a missing package is none."""

from pathlib import Path

import pytest

from rewardsmith.packages import is_installed


def test_what_is_there_and_what_is_not() -> None:
    assert is_installed("torch")
    assert is_installed("importlib.util")
    assert not is_installed("no_such_package")
    assert not is_installed("no_such_package.part")


def test_a_folder_of_that_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_a_folder").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not is_installed("only_a_folder")
    (tmp_path / "only_a_folder" / "__init__.py").touch()
    assert is_installed("only_a_folder")
