"""A part of the fuzz over files: what was found once, and drawn cases (`make fuzz-files` runs for long)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "fuzz"))

import files as fuzz  # noqa: E402

# What libraries warn of depends on the drawn files, and `ended` prints it as a command would.
pytestmark = pytest.mark.filterwarnings("default")

CASES = 72


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, fuzz.Files], Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        return fuzz.prepare(tmp_path_factory.mktemp("fuzz"))


def test_what_was_found_once(world: tuple[dict[str, fuzz.Files], Path]) -> None:
    cases = list(fuzz.kept(HERE / "fuzz" / "corpus"))
    counts, found = fuzz.fuzz(iter(cases), *world)
    assert sum(counts.values()) == len(cases) > 0
    assert {name: case["problem"] for name, case in found.items()} == {}


def test_drawn_cases(world: tuple[dict[str, fuzz.Files], Path]) -> None:
    counts, found = fuzz.fuzz(fuzz.drawn(world[0], seed=2, until=lambda number: number >= CASES), *world)
    assert sum(counts.values()) == CASES
    assert {name: case["problem"] for name, case in found.items()} == {}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ZeroDivisionError("division by zero"), "exit 70: ZeroDivisionError: division by zero"),
        (SystemExit(3), "exit 70: SystemExit: 3"),
    ],
)
def test_a_planted_fault_is_found(
    world: tuple[dict[str, fuzz.Files], Path], monkeypatch: pytest.MonkeyPatch, fault: BaseException, says: str
) -> None:
    def planted(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr("rewardsmith.judging.questions._in_text", planted)
    cases = [("reply", "planted", {"text": b"[[A]]"})]
    _, found = fuzz.fuzz(iter(cases), *world)
    assert [case["problem"].startswith(says) for case in found.values()] == [True]


def test_a_planted_hang_is_found(world: tuple[dict[str, fuzz.Files], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(*_: object, **__: object) -> None:
        while True:
            pass

    monkeypatch.setattr("rewardsmith.judging.questions._in_text", planted)
    monkeypatch.setattr(fuzz, "SLOWEST", 0.3)
    _, found = fuzz.fuzz(iter([("reply", "planted", {"text": b"[[A]]"})]), *world)
    assert [case["problem"].split(":")[0] for case in found.values()] == ["hang"]
