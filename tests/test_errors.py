"""The error tree: one message says what, where and how to fix it; the drawing in the docstring is the truth."""

from __future__ import annotations

import inspect
import re

import pytest

from rewardsmith import errors
from rewardsmith.errors import DataError, NegativeVerdict, RewardsmithError, UserError


def classes() -> dict[str, type[RewardsmithError]]:
    kinds = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind)}
    return {name: kind for name, kind in kinds.items() if issubclass(kind, RewardsmithError)}


def test_a_message_has_its_place_and_its_fix() -> None:
    error = DataError("found 3", where="pairs.jsonl:12, field 'chosen'", fix="write text")
    assert str(error) == "pairs.jsonl:12, field 'chosen': found 3\n  try: write text"
    assert (error.problem, error.where, error.fix) == ("found 3", "pairs.jsonl:12, field 'chosen'", "write text")


@pytest.mark.parametrize(
    ("where", "fix", "text"),
    [("", "", "broken"), ("a.yaml", "", "a.yaml: broken"), ("", "fix it", "broken\n  try: fix it")],
)
def test_place_and_fix_may_be_left_out(where: str, fix: str, text: str) -> None:
    assert str(RewardsmithError("broken", where=where, fix=fix)) == text


def test_the_exit_code_tells_bad_input_from_a_negative_answer() -> None:
    for name, kind in classes().items():
        expected = 1 if issubclass(kind, NegativeVerdict) else 2
        assert kind.exit_code == expected, name
        assert kind is RewardsmithError or issubclass(kind, UserError | NegativeVerdict), name


def test_the_drawn_tree_is_the_class_tree() -> None:
    drawn: dict[str, str] = {}
    open_at: dict[int, str] = {}
    for line in str(errors.__doc__).splitlines():
        match = re.match(r"    ([│├└── ]*)([A-Z]\w+) ", line)
        if match:
            depth = len(match[1]) // 4
            open_at[depth] = match[2]
            drawn[match[2]] = open_at[depth - 1] if depth else "Exception"
    assert drawn == {name: kind.__mro__[1].__name__ for name, kind in classes().items()}
