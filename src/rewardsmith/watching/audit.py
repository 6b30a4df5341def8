"""Which answers are audited, and who says which is better.

    items = draw(answers, kept, size=16, seed=17, number=3)      pairs: an answer of now, an answer of the reference
    found = await ask(judge, items)                              a judge
    append_questions(path, items); replies = read_replies(path)  people, in a file that hides which is which
    check_questions(path)                                        refuses a file of something else beforehand

Both sides of a pair are picked by one rule, so that before anything has changed either is as likely to win, by reward
and by quality alike. Where the reference has answers to the same prompt, each side is the best paid of equally many
answers to it (of one answer each: that prompt of four which the best paid answer belongs to). Else each side is the
best paid of four answers, to whatever prompts, and both are rated. Prompts and answers are drawn by the seed and the
audit's number.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from rewardsmith.errors import RunDirectoryError
from rewardsmith.protocols import BenchmarkJudge
from rewardsmith.records.bounded import MIB, BeyondLimitError, parse_json, read_bounded
from rewardsmith.records.files import begins_with, guard_own
from rewardsmith.records.watch import WatchAuditItem, WatchKept
from rewardsmith.types import Comparison, Conversation, Message
from rewardsmith.watching.streams import Answer

POOL = 4  # answers of which the best paid one stands for its side
LONGEST = 20_000
"""Characters of a text that are kept; what is beyond is cut off."""

REPLIES = ("first", "second", "tie")
_FILE_SIZE = 256 * MIB
_FIELDS = ("id", "better", "prompt", "first", "second")
Side = TypeVar("Side", Answer, WatchKept)
Found = tuple[float | None, str]
"""Quality win of the answer of now, or None and why."""


def kept(answer: Answer) -> WatchKept:
    """An answer as the reference keeps it."""
    return WatchKept(
        prompt=tuple((turn.role, turn.content[:LONGEST]) for turn in answer.prompt),
        group=answer.group,
        response=answer.response[:LONGEST],
        reward=answer.reward,
        quality=answer.quality,
    )


def draw(
    answers: Sequence[Answer],
    reference: Sequence[WatchKept],
    *,
    size: int,
    seed: int,
    number: int,
    step: int,
    equal_within: float = 0.0,
) -> list[tuple[WatchAuditItem, Found]]:
    """`size` pairs, and for each what the log itself says of their quality. Rewards that differ by no more than
    `equal_within` are a tie: in batches of other lengths a text may get another last digit.
    """
    rng = np.random.default_rng([seed, number])
    now, then = _by_group(answers), _by_group(reference)
    shared = sorted(now.keys() & then.keys())
    found = []
    order: list[str] = []
    for place in range(size):
        # With fewer shared prompts one audit would ask for the same few again and again.
        if len(shared) >= max(2, size // 4):
            # Each shared prompt has its turn before one of them comes again.
            order = order or [shared[one] for one in rng.permutation(len(shared))]
            group = order.pop()
            if min(len(now[group]), len(then[group])) == 1:
                group = _liveliest([shared[one] for one in rng.permutation(len(shared))[:POOL]], now, then)
            many = min(len(now[group]), len(then[group]))
            one, other = _best(now[group], many, rng), _best(then[group], many, rng)
        else:
            one, other = _best(answers, POOL, rng), _best(reference, POOL, rng)
        win = _win(one.reward, other.reward, equal_within)
        # Which side is shown first is drawn, so that its place does not tell people which answer is of now.
        item = _item(one, other, win, name=f"{number}.{place}", step=step, shown_first=bool(rng.integers(2)))
        found.append((item, _by_log(one, other)))
    return found


def _by_group(answers: Sequence[Side]) -> dict[str, list[Side]]:
    found: dict[str, list[Side]] = defaultdict(list)
    for one in answers:
        found[one.group].append(one)
    return dict(found)


def _best(answers: Sequence[Side], many: int, rng: np.random.Generator) -> Side:
    places = rng.permutation(len(answers))[:many].tolist()
    return answers[max(places, key=lambda place: answers[place].reward)]


def _liveliest(
    groups: Sequence[str], now: Mapping[str, Sequence[Answer]], then: Mapping[str, Sequence[WatchKept]]
) -> str:
    def highest(group: str) -> float:
        return max([one.reward for one in now[group]] + [one.reward for one in then[group]])

    return max(groups, key=highest)


def _item(one: Answer, other: WatchKept, win: float, *, name: str, step: int, shown_first: bool) -> WatchAuditItem:
    mine = kept(one)
    return WatchAuditItem(
        id=name,
        step=step,
        same_prompt=mine.prompt == other.prompt,
        prompt=mine.prompt,
        answer=mine.response,
        reward=one.reward,
        reference_prompt=other.prompt,
        reference_answer=other.response,
        reference_reward=other.reward,
        shown_first=shown_first,
        reward_win=win,
    )


def _by_log(one: Answer, other: WatchKept) -> Found:
    if one.quality is None or other.quality is None:
        return None, "not in the log"
    return _win(one.quality, other.quality), ""


def _win(one: float, other: float, equal_within: float = 0.0) -> float:
    return 0.5 if abs(one - other) <= equal_within else float(one > other)


async def ask(judge: BenchmarkJudge, items: Sequence[WatchAuditItem]) -> list[Found]:
    """What the judge says of each pair: compared where the prompt is one, else both rated."""
    return list(await asyncio.gather(*(_ask(judge, item) for item in items)))


async def _ask(judge: BenchmarkJudge, item: WatchAuditItem) -> Found:
    prompt, reference = _turns(item.prompt), _turns(item.reference_prompt)
    mine, other = Message("assistant", item.answer), Message("assistant", item.reference_answer)
    if item.same_prompt:
        said = await judge.compare(Comparison(prompt, (mine,), (other,), id=f"watch {item.id}"))
        return said.probability, said.missing
    ratings = [await judge.rate((*prompt, mine)), await judge.rate((*reference, other))]
    if ratings[0].value is None or ratings[1].value is None:
        return None, next(one.missing for one in ratings if one.value is None)
    return _win(ratings[0].value, ratings[1].value), ""


def _turns(turns: Sequence[tuple[str, str]]) -> Conversation:
    return tuple(Message(role, content) for role, content in turns)


def check_questions(path: Path) -> None:
    """Refuse a file that is there and holds something else than questions for people.

    Raises:
        RunDirectoryError: it does, is no regular file, or cannot be read.
    """
    guard_own(path, lambda file: begins_with(file, _FIELDS), "pairs of an audit by people")


def append_questions(path: Path, items: Sequence[WatchAuditItem]) -> None:
    """Put pairs at the end of the file for people: texts in drawn order, without rewards, and `better` to be filled in.

    Raises:
        RunDirectoryError: the file cannot be written, or holds something else.
    """
    check_questions(path)
    lines = []
    for item in items:
        sides = [("now", item.prompt, item.answer), ("then", item.reference_prompt, item.reference_answer)]
        (_, first_prompt, first), (_, second_prompt, second) = sides if item.shown_first else sides[::-1]
        line: dict[str, object] = {"id": item.id, "better": "", "prompt": _shown(first_prompt)}
        line |= {"first": first, "second": second}
        if not item.same_prompt:
            line["prompt_of_second"] = _shown(second_prompt)
        lines.append(json.dumps(line, ensure_ascii=False))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as handle:
            # Editors may leave the last line that people filled in without an end.
            if handle.tell() and os.pread(handle.fileno(), 1, handle.tell() - 1) != b"\n":
                handle.write(b"\n")
            handle.writelines(f"{line}\n".encode() for line in lines)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot be written: {error.strerror}", where=str(path), fix="name another --audit-file"
        ) from error


def _shown(prompt: Sequence[tuple[str, str]]) -> str:
    return prompt[0][1] if len(prompt) == 1 else "\n\n".join(f"{role}: {content}" for role, content in prompt)


def read_replies(path: Path) -> tuple[dict[str, str], list[str]]:
    """What people filled in, by id: first, second or tie; and the places of lines that cannot be read.

    Raises:
        RunDirectoryError: the file cannot be read.
    """
    try:
        raw = read_bounded(path, _FILE_SIZE) if path.exists() else b""
    except (OSError, BeyondLimitError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RunDirectoryError(
            f"cannot be read: {reason}", where=str(path), fix="restore it, or name another --audit-file"
        ) from error
    found: dict[str, str] = {}
    bad = []
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line.decode("utf-8"))
            reply, name = str(row["better"]).strip().lower(), str(row["id"])
        except (ValueError, KeyError, TypeError):
            bad.append(f"{path}:{number}: no line of an audit")
            continue
        if reply in REPLIES:
            found[name] = reply
        # An empty one is not filled in yet, which is no mistake.
        elif reply:
            bad.append(f"{path}:{number}: better is {reply[:20]!r}, not {', '.join(REPLIES)}")
    return found, bad


def replied(item: WatchAuditItem, reply: str) -> float:
    """The quality win of the answer of now, from what people said of the two texts as they were shown."""
    return 0.5 if reply == "tie" else float((reply == "first") == item.shown_first)
