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
    from rewardsmith.data.forms.recognise import Seen

Device = Literal["auto", "cpu", "cuda", "mps"]
Framework = Literal["trl", "openrlhf", "verl", "slime", "llama-factory", "best-of-n", "other"]
T = TypeVar("T")

_EMBEDDED = "embedded"
_EXCERPT = 300  # characters of a turn
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

_OF_EMBEDDED: dict[str, Any] = {"pairs_per_step": 16, "learning_rate": 1.5e-3, "schedule": "linear", "warmup": 0.05}
"""Training of the embedded base, as examples/quickstart.yaml has it: with the default rate, which is for pretrained
models of billions of parameters, it stays at chance."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the five questions found out. `source` is the entry of `data.train`, {} for the embedded data."""

    base: str
    data: str
    policy: str
    device: Device
    framework: Framework
    source: dict[str, Any]


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
        typer.Option(metavar="OURS=THEIRS", help="A column: chosen=better; prompt= for none. May be repeated."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of several labels in a published data set, the one to use.")
    ] = None,
) -> None:
    """Write a commented spec to start from. Asks five questions on a terminal; flags answer them."""
    from rewardsmith.records.files import write_text

    path = folder / "spec.yaml"
    if path.exists():
        raise UserError("stands there already", where=str(path), fix="name another folder, or move the file away")
    asks = sys.stdin.isatty() and sys.stdout.isatty()
    ask = _ask if asks else _take_default
    base = base or ask("Base model (hub id or folder)", _EMBEDDED, str.strip)
    data = data or ask("Preference pairs (file or hub id)", _EMBEDDED, _data)
    policy = _policy(policy) if policy else ask("Policy that the rewards will train (8B, or a hub id)", "", _policy)
    runs_on = device if device else ask("Device (auto, cpu, cuda, mps)", "auto", _device)
    used_by = framework if framework else ask(f"Rewards are for ({', '.join(_NEXT)})", "trl", _framework)
    source, said = _source(_data(data), _stated(columns or []), label, asks=asks)
    text = written(Answers(base, data, policy, runs_on, used_by, source))
    write_text(path, text)  # last of all: what cannot be used leaves no file behind
    if base == _EMBEDDED:
        said.append(f"the embedded base is small: training.learning_rate is {_OF_EMBEDDED['learning_rate']:g}")
    for line in said:
        say(f"  {line}")
    say(f"{path}\n  next: rewardsmith check {path}\n  then: rewardsmith run {path}")


def written(answers: Answers) -> str:
    """The spec for some answers."""
    from rewardsmith.spec.tree import starter_spec

    choices: dict[str, Any] = {"name": _name(answers.data)}
    if answers.base == _EMBEDDED:
        # The four pairs of an embedded block, whose answers change places, meet in one step.
        order = {"order": "as_given"} if answers.data == _EMBEDDED else {}
        choices["training"] = _OF_EMBEDDED | order
    else:
        choices["base_model"] = {"id": answers.base}
    if answers.data != _EMBEDDED:
        choices["data"] = {"train": [answers.source]}
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
    if not answer or not _is_size(answer):
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


def _stated(columns: list[str]) -> dict[str, str | None]:
    """`--columns chosen=better` as a map; `--columns prompt=` says that there is none."""
    from rewardsmith.spec.data import Column

    pairs = [column.partition("=") for column in columns]
    allowed = get_args(Column)
    for ours, equals, _ in pairs:
        if ours not in allowed or not equals:
            fix = f"write it as chosen=better; the left side is one of {', '.join(allowed)}"
            raise UserError(f"{ours!r} names none of our columns, or nothing after it", where="--columns", fix=fix)
    return {ours: theirs or None for ours, _, theirs in pairs}


def _source(
    data: str, stated: dict[str, str | None], label: str | None, *, asks: bool
) -> tuple[dict[str, Any], list[str]]:
    """The entry of `data.train`, and what to say about it.

    Raises:
        DataError: the file does not say which answer is better, or says something else than what was stated.
    """
    if data == _EMBEDDED:
        return {}, []
    if not _is_file(data):
        return _of_hub(data, stated, label)
    from rewardsmith.data.forms.recognise import look

    seen = look(data)
    source = {"path": data, **_reading(data, seen, stated, label, asks=asks)}
    return source, _said(source, seen, stated)


def _of_hub(data: str, stated: dict[str, str | None], label: str | None) -> tuple[dict[str, Any], list[str]]:
    """A hub data set, by its id: nothing is downloaded."""
    from rewardsmith.data.forms.published import by_hub_id

    source: dict[str, Any] = {"id": data}
    known = by_hub_id(data)
    if known is None:
        said = ["a hub data set that is not known by its id: `rewardsmith check` says what its columns look like"]
        return source | ({"columns": stated} if stated else {}), said
    columns = {**known.columns, **stated}
    form = {**known.form, **_chosen_label(known.choices, label)}
    source |= {**known.hub, "form": form}
    source |= {"columns": columns} if columns else {}
    source |= {"ignore": list(known.ignore)} if known.ignore else {}
    return source, _told(known.name, known.meaning, known.source, known.dropped, known.choices, label)


def _reading(data: str, seen: Seen, stated: dict[str, str | None], label: str | None, *, asks: bool) -> dict[str, Any]:
    """`form`, `columns` and `ignore` of a file, as far as they differ from the defaults."""
    from rewardsmith.data.columns import known
    from rewardsmith.data.forms.wordings import guess_columns

    found, form = seen.found, dict(seen.found.form)
    columns: dict[str, Any] = {**found.columns, **stated}
    if {"chosen", "rejected"} & stated.keys() and form["kind"] == "comparison":
        form, columns = {"kind": "pair"}, {**guess_columns(seen.names)[0], **stated}
    elif found.problem:
        columns = {**guess_columns(seen.names)[0], **stated}
        for ours in ("chosen", "rejected"):
            if columns.get(ours) is None and ours not in seen.names:
                if not asks:
                    raise DataError(found.problem, where=data, fix=found.fix)
                question = f"Column of the {ours} response ({', '.join(seen.names)})"
                columns[ours] = _ask(question, "", partial(_one_of, seen.names))
    form |= _chosen_label(found.choices, label)
    mapped = {ours: theirs for ours, theirs in columns.items() if ours in stated or theirs != known(ours, seen.names)}
    return {
        **({} if form == {"kind": "pair"} else {"form": form}),
        **({"columns": mapped} if mapped else {}),
        **({"ignore": list(found.ignore)} if found.ignore else {}),
    }


def _chosen_label(choices: Any, label: str | None) -> dict[str, Any]:
    if label is None:
        return {}
    if label not in choices:
        there = ", ".join(choices) or "there is one label only"
        raise UserError(f"{label!r} is no other label of this data", where="--label", fix=f"write one of: {there}")
    return dict(choices[label])


def _said(source: dict[str, Any], seen: Seen, stated: dict[str, str | None]) -> list[str]:
    """What was recognised, which columns are which, and the first row as it will be read."""
    from rewardsmith.data.forms.recognise import unread_columns
    from rewardsmith.data.sources import first_pair
    from rewardsmith.spec import SourceSpec

    found, spec = seen.found, SourceSpec.model_validate(source)
    lines = _told(found.title, found.meaning, found.source, found.dropped, found.choices, None)
    if "form" in source:
        lines.append(f"form: {_flow(source['form'])}")
    lines += [f"column {theirs!r} is taken for {ours}" for ours, theirs in spec.columns.items() if theirs]
    lines += [f"no column is taken for {ours}" for ours, theirs in spec.columns.items() if theirs is None]
    shown = first_pair(spec)
    lines += [
        f"column {name!r} is not read; --columns OURS={name!r} would make it our source, subset, id, …"
        for name in unread_columns(seen.names, spec)
    ]
    if shown.pair is None:
        reasons = ", ".join(f"{code} {count:,}" for code, count in shown.rejected.items())
        raise DataError(
            f"none of its {shown.read:,} rows is a pair, read as {found.title or 'pairs'}: {reasons}. {shown.example}",
            where=str(source["path"]),
            fix="correct the file, or say how it is to be read: --columns, or form in the spec (docs/public_data.md)",
        )
    lines.append(f"row {shown.row} as it will be read (rewardsmith check SPEC --show 2 has it in the base's template):")
    for name in ("prompt", "chosen", "rejected"):
        for turn in getattr(shown.pair, name):
            text = " ".join(turn.text.split())
            lines.append(f"  {name:<8} {turn.role}: {text[:_EXCERPT]}{'…' if len(text) > _EXCERPT else ''}")
    return lines


def _told(title: str, meaning: str, source: str, dropped: str, choices: Any, label: str | None) -> list[str]:
    lines = [f"recognised: {title}"] if title else []
    if meaning:
        lines.append(f"its label: {meaning} (known from {source})")
    if dropped:
        lines.append(f"not read: {dropped}")
    if choices and label is None:
        lines.append(f"another label: --label {' or '.join(choices)}")
    return lines


def _flow(value: Any) -> str:
    """A form on one line, as it would stand in the spec."""
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()


def _name(data: str) -> str:
    """A run's name after its data: the file or data set, without what a folder may not be called."""
    if data == _EMBEDDED:
        return "run"
    stem = Path(data).name.split(".")[0] if _is_file(data) else data.split("/")[-1]
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9._-]+", "-", stem)).strip("-") or "run"
