"""`rewardsmith init`: five questions, or flags, and a commented spec that fits the answers.

On a terminal what no flag says is asked for; elsewhere it takes its default. Everything is looked at before the file is
written: a data file is opened, and columns with other names go into the spec's column map.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, get_args

import typer

from rewardsmith.cli.terminal import say
from rewardsmith.errors import DataError, SpecError, UserError

if TYPE_CHECKING:
    from rewardsmith.data.guess import Seen

Device = Literal["auto", "cpu", "cuda", "mps"]
Framework = Literal["trl", "openrlhf", "verl", "slime", "llama-factory", "best-of-n", "other"]
T = TypeVar("T")

_EMBEDDED = "embedded"
_SERVED = "rewardsmith serve --model {model}      # then give it the server's address: docs/serving.md"
_NEXT: dict[Framework, str] = {
    "trl": "GRPOTrainer(…, reward_funcs=rewardsmith.reward_function({model!r}))      # docs/consumers.md",
    "openrlhf": "rewardsmith serve --model {model}      # --reward.remote_url http://any:TOKEN@HOST:8000/get_reward",
    "verl": _SERVED,
    "slime": _SERVED,
    "llama-factory": _SERVED,
    "best-of-n": "rewardsmith.best_of_n(rewardsmith.LocalScorer.load({model!r}), prompt, answers)",
    "other": "rewardsmith score --model {model} --input answers.jsonl --output rewards.jsonl      # or serve",
}
"""How the framework takes the rewards, once there is a model."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the five questions found out. `columns` maps our names to those in the data file."""

    base: str
    data: str
    policy: str
    device: Device
    framework: Framework
    columns: dict[str, str]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for spec.yaml.")] = Path(),
    base: Annotated[
        str | None, typer.Option(metavar="ID", help="Base model: a hub id, a folder, or embedded.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE_OR_ID", help="Preference pairs: a file, a hub id, or embedded.", show_default=False),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="SIZE_OR_ID", help="The model to be trained with the rewards: 8B, or a hub id."),
    ] = None,
    device: Annotated[Device | None, typer.Option(help="Where training runs.", show_default=False)] = None,
    framework: Annotated[Framework | None, typer.Option(help="What will use the rewards.", show_default=False)] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="OURS=THEIRS", help="A column of the data file: chosen=better. May be repeated."),
    ] = None,
) -> None:
    """Write a commented spec to start from. Asks five questions on a terminal; flags answer them."""
    from rewardsmith.records import write_text

    path = folder / "spec.yaml"
    if path.exists():
        raise UserError("stands there already", where=str(path), fix="name another folder, or move the file away")
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    ask = _ask if asks else _take_default
    answers = Answers(
        base=base or ask("Base model (hub id or folder)", _EMBEDDED, str.strip),
        data=data or ask("Preference pairs (file or hub id)", _EMBEDDED, _data),
        policy=_policy(policy) if policy else ask("Policy that the rewards will train (8B, or a hub id)", "", _policy),
        device=device if device else ask("Device (auto, cpu, cuda, mps)", "auto", _device),
        framework=framework if framework else ask(f"Rewards are for ({', '.join(_NEXT)})", "trl", _framework),
        columns=_stated(columns or []),
    )
    answers.columns.update(_columns(_data(answers.data), answers.columns, asks=asks))
    text = written(answers)
    write_text(path, text)
    for ours, theirs in answers.columns.items():
        say(f"  column {theirs!r} is taken for {ours}")
    for name in _unread(answers):
        say(f"  column {name!r} is not read; --columns OURS={name!r} would make it our source, subset, id, …")
    say(f"{path}\n  next: rewardsmith check {path}\n  then: rewardsmith run {path}")


def written(answers: Answers) -> str:
    """The spec for some answers."""
    from rewardsmith.spec.starter import starter_spec

    choices: dict[str, Any] = {"name": _name(answers.data)}
    if answers.base != _EMBEDDED:
        choices["base_model"] = {"id": answers.base}
    if answers.data != _EMBEDDED:
        source: dict[str, Any] = {"path" if _is_file(answers.data) else "id": answers.data}
        choices["data"] = {"train": [source | ({"columns": answers.columns} if answers.columns else {})]}
    if answers.policy:
        choices["policy"] = {"parameters" if _is_size(answers.policy) else "id": answers.policy}
    if answers.device != "auto":
        choices["hardware"] = {"device": answers.device}
    use = _NEXT[answers.framework].format(model=f"runs/{choices['name']}/model")
    return f"{starter_spec(**choices)}\n# When it has run:\n#   {use}\n"


def _ask(question: str, default: str, read: Callable[[str], T]) -> T:
    """Ask until the answer can be used."""
    while True:
        answer = typer.prompt(question, default=default, show_default=bool(default))
        try:
            return read(answer.strip())
        except UserError as error:
            say(f"  {error}", error=True)


def _take_default(question: str, default: str, read: Callable[[str], T]) -> T:
    del question
    return read(default)


def _data(answer: str) -> str:
    """A file that is there, a hub id, or `embedded`."""
    if answer == _EMBEDDED or not _is_file(answer):
        return answer
    from rewardsmith.data.files import check_file

    check_file(Path(answer))
    return answer


def _is_file(answer: str) -> bool:
    """Whether this names a file: it is one, or has a file's suffix. Else it is a hub id."""
    return Path(answer).exists() or re.search(r"\.(jsonl|ndjson|json|csv|parquet)(\.gz)?$", answer) is not None


def _policy(answer: str) -> str:
    if not answer or not answer[0].isdigit() or "/" in answer:
        return answer
    from rewardsmith.spec.section import Refusal, parse_count

    try:
        parse_count(answer)
    except Refusal as refusal:
        raise SpecError(
            refusal.problem, where=f"policy {answer!r}", fix=f"{refusal.fix}, or name a hub id"
        ) from refusal
    return answer


def _is_size(policy: str) -> bool:
    return policy[0].isdigit() and "/" not in policy


def _device(answer: str) -> Device:
    return cast("Device", _one_of(get_args(Device), answer))


def _framework(answer: str) -> Framework:
    return cast("Framework", _one_of(get_args(Framework), answer))


def _one_of(allowed: tuple[str, ...], answer: str) -> str:
    if answer not in allowed:
        raise UserError(f"{answer!r} is not one of them", fix=f"write {', '.join(allowed)}")
    return answer


def _stated(columns: list[str]) -> dict[str, str]:
    """`--columns chosen=better` as a map."""
    from rewardsmith.spec.data import Column

    pairs = [column.partition("=") for column in columns]
    allowed = get_args(Column)
    for ours, _, theirs in pairs:
        if ours not in allowed or not theirs:
            fix = f"write it as chosen=better; the left side is one of {', '.join(allowed)}"
            raise UserError(f"{ours!r} names none of our columns, or nothing after it", where="--columns", fix=fix)
    return {ours: theirs for ours, _, theirs in pairs}


def _columns(data: str, stated: dict[str, str], *, asks: bool) -> dict[str, str]:
    """The columns of a data file that must be mapped and were not stated.

    Raises:
        DataError: no column seems to hold a side of the pair, and nobody can be asked.
    """
    seen = _seen(data)
    if seen is None:
        return {}
    found: dict[str, str] = {ours: theirs for ours, theirs in seen.columns.items() if ours not in stated}
    for ours in (ours for ours in seen.missing if ours not in stated):
        if seen.verdict:
            raise DataError(
                f"column {seen.verdict!r} says which of two answers won; a pair has them in columns of their own",
                where=data,
                fix="write the answer that won to a column `chosen`, the other to `rejected`, and leave ties out",
            )
        if not asks:
            there = ", ".join(repr(name) for name in seen.names)
            raise DataError(
                f"no single column seems to hold the {ours} response; there are {there}",
                where=data,
                fix=f"say which it is: rewardsmith init --columns {ours}=NAME",
            )
        found[ours] = _ask(f"Column of the {ours} response ({', '.join(seen.names)})", "", partial(_one_of, seen.names))
    return found


def _unread(answers: Answers) -> tuple[str, ...]:
    """The columns of a data file that nothing will read."""
    from rewardsmith.data.guess import unread_columns

    seen = _seen(answers.data)
    return unread_columns(seen.names, answers.columns) if seen else ()


def _seen(data: str) -> Seen | None:
    """What a data file seems to hold; None where there is no file to look at."""
    if data == _EMBEDDED or not _is_file(data):
        return None
    from rewardsmith.data.guess import look

    return look(data)


def _name(data: str) -> str:
    """A run's name after its data: the file or data set, without what a folder may not be called."""
    if data == _EMBEDDED:
        return "run"
    stem = Path(data).name.split(".")[0] if _is_file(data) else data.split("/")[-1]
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9._-]+", "-", stem)).strip("-") or "run"
