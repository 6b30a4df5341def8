"""The watch itself: answers come in order, windows are closed, the reference is completed, audits fall due.

    watcher = Watcher(settings, book)                       or Watcher(settings, book, state=…, items=…) to continue
    for read in stream.poll():
        watcher.add(read)
        if watcher.due:                                     an audit: draw it, have it answered
            watcher.answer(watcher.draw_audit(), …)
    record = watcher.record(…)

A window is whole steps with at least `answers` answers together. It is closed by the first answer of a later step; what
comes for it afterwards is late and left out. The state is taken where an audit falls due, so that a watch that is
continued draws the same answers as one that never stopped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rewardsmith.records.watch import WatchAuditItem, WatchKept, WatchReference, WatchState, WatchWindow
from rewardsmith.watching.audit import Found, draw, kept
from rewardsmith.watching.evidence import TOLERANCE
from rewardsmith.watching.streams import Answer, Read
from rewardsmith.watching.windows import Book, high_reward, levels_of, measure, medians_of, novelty, runs_of, words

FIRST_STEPS = "the first steps"
EXAMPLES = 5
EQUAL_WITHIN = 0.01
"""Rewards of a pair that differ by less, in standard deviations of the reference's rewards, are a tie."""

_MOST_KEPT = 512
_MOST_OF_PROMPT = 8
_MOST_CHARACTERS = 4_000_000  # of the texts that are kept; the whole state may have 16 MiB
_MOST_RUNS = 200_000  # of words of the reference that count as known: 3 MB of the state


@dataclass(frozen=True, slots=True)
class Settings:
    """How the watch looks.

    Args:
        reference_steps: steps at the beginning that everything else is compared with, where no file is given.
        answers: fewest answers of a window.
        every: steps between two audits.
        size: pairs of an audit.
        tolerance: how far the share of wins by quality may stay behind that by reward.
        seed: decides what is audited.
    """

    reference_steps: int = 50
    answers: int = 32
    every: int = 10
    size: int = 16
    tolerance: float = TOLERANCE
    seed: int = 17


class Watcher:
    """See the module.

    Args:
        settings: how it looks.
        book: triggers, and runs of words of the training data where they are given.
        training: texts that the book's runs are of.
        held_out: mean and standard deviation of the reward model's held-out pairs.
        state, items: what an earlier call left.
    """

    def __init__(
        self,
        settings: Settings,
        book: Book | None = None,
        *,
        training: int = 0,
        held_out: tuple[float | None, float | None] = (None, None),
        state: WatchState | None = None,
        items: Sequence[WatchAuditItem] = (),
    ) -> None:
        book = book or Book()
        self.settings = settings
        self.windows: list[WatchWindow] = []
        self.reference_windows: tuple[WatchWindow, ...] = ()
        self.levels: dict[str, float] = {}
        self.kept: tuple[WatchKept, ...] = ()
        self.items = list(items)
        self.answers = self.late = 0
        self.rejected: Counter[str] = Counter()
        self.examples: list[str] = []
        self.last_audit: int | None = None
        self.reference = WatchReference(
            source=FIRST_STEPS,
            first=None,
            last=None,
            answers=0,
            kept=0,
            reward_mean=None,
            reward_std=None,
            length_mean=None,
            held_out_mean=held_out[0],
            held_out_std=held_out[1],
            training=training,
            triggers=tuple(one.title for one in book.triggers),
        )
        self._book = book
        self._pending: list[Answer] = []
        self._pool: list[Answer] = []
        self._early: list[list[Answer]] = []
        if state is not None:
            self._continue(state)

    @property
    def due(self) -> bool:
        """Whether an audit falls due: the windows since the last one reach far enough."""
        if not self.levels or not self.windows or not self._pool:
            return False
        begin = self.last_audit if self.last_audit is not None else (self.reference.last or 0)
        return self.windows[-1].last - begin >= self.settings.every

    @property
    def tested(self) -> list[WatchWindow]:
        """Closed windows that came after the reference."""
        if not self.levels:
            return []
        return self.windows[len(self.reference_windows) if self.reference.source == FIRST_STEPS else 0 :]

    @property
    def pending(self) -> tuple[Answer, ...]:
        """Answers of the window that is not closed yet."""
        return tuple(self._pending)

    def closes(self, answer: Answer) -> bool:
        """Whether this answer is the first of a later window."""
        pending = self._pending
        # A step is never split between two windows.
        return len(pending) >= self.settings.answers and answer.step > max(one.step for one in pending)

    def add(self, read: Read) -> None:
        """Count a row; where it begins another window, close the one before."""
        if read.answer is None:
            self.rejected[read.why] += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(f"{read.place}: {read.why}")
            return
        # A closed window was tested already: a late answer is counted and left out.
        if self.windows and read.answer.step <= self.windows[-1].last:
            self.late += 1
            return
        if self.closes(read.answer):
            self.close()
        self.answers += 1
        self._pending.append(read.answer)

    def close(self) -> None:
        """Close the window that is open."""
        answers, self._pending = self._pending, []
        self.windows.append(measure(answers, self.levels, self._book))
        if self.levels:
            self._pool += answers
            return
        self._early.append(answers)
        first, last = self.windows[0].first, self.windows[-1].last
        if last - first + 1 >= self.settings.reference_steps:
            self._complete(self._early, FIRST_STEPS, first, last)
            self.windows = list(self.reference_windows)
            self._early = []

    def use_reference(self, answers: Sequence[Answer], source: str) -> None:
        """Another policy's answers, or this one's of before, as the reference; in pieces as large as windows."""
        # Answers of a step to one prompt lie together, and no piece ends between them.
        order = sorted(range(len(answers)), key=lambda place: (answers[place].step, answers[place].group))
        pieces: list[list[Answer]] = []
        for place in order:
            one = answers[place]
            if not pieces or (len(pieces[-1]) >= self.settings.answers and one.group != pieces[-1][-1].group):
                pieces.append([])
            pieces[-1].append(one)
        # A short last piece would make one noisy window: it goes to the one before.
        if len(pieces) > 1 and len(pieces[-1]) < self.settings.answers // 2:
            pieces[-2] += pieces.pop()
        self._complete(pieces, source, None, None)

    def unfinished(self) -> WatchWindow | None:
        """The window that is open, as it is now: it is shown and not tested."""
        return measure(self._pending, self.levels, self._book, counted=False) if self._pending else None

    def draw_audit(self) -> list[tuple[WatchAuditItem, Found]]:
        """Draw the audit that is due; the answers that it was drawn from are let go."""
        step = self.windows[-1].last
        number = len({one.id.partition(".")[0] for one in self.items})
        settings = self.settings
        drawn = draw(
            self._pool,
            self.kept,
            size=settings.size,
            seed=settings.seed,
            number=number,
            step=step,
            equal_within=EQUAL_WITHIN * (self.reference.reward_std or 0.0),
        )
        self.skip_audit()
        return drawn

    def skip_audit(self) -> None:
        """Let the answers since the last audit go: nobody audits."""
        self._pool = []
        self.last_audit = self.windows[-1].last

    def answer(self, items: Sequence[WatchAuditItem], found: Sequence[Found]) -> None:
        """Take what was said of pairs, those of one look together; pairs that are known already are replaced."""
        batch = 1 + max((one.batch for one in self.items if one.batch is not None), default=-1)
        turn = sum(one.turn is not None for one in self.items)
        places = {one.id: place for place, one in enumerate(self.items)}
        for item, (win, missing) in zip(items, found, strict=True):
            told: dict[str, object] = {"missing": missing}
            if win is not None:
                told = {"quality_win": win, "missing": "", "turn": turn, "batch": batch}
                turn += 1
            made = item.model_copy(update=told)
            if item.id in places:
                self.items[places[item.id]] = made
            else:
                self.items.append(made)

    def state(
        self,
        fingerprint: str,
        form: str,
        place: tuple[str, int, str],
        *,
        served: int = 0,
        rotations: Mapping[str, int] | None = None,
    ) -> WatchState:
        """What the same command continues from; right after an audit.

        Args:
            fingerprint: of the command.
            form: of the rows.
            place: file, offset and mark of the row that closed the last window: it is read again.
            served: rows without a step before it.
            rotations: of the stream, by kind.
        """
        return WatchState(
            fingerprint=fingerprint,
            form=form,
            file=place[0],
            offset=place[1],
            mark=place[2],
            served=served,
            # The open window is read again by the next call, from its first row.
            answers=self.answers - len(self._pending),
            late=self.late,
            rotations=dict(rotations or {}),
            rejected=dict(self.rejected),
            rejected_examples=tuple(self.examples),
            windows=tuple(self.windows),
            reference_windows=self.reference_windows,
            kept=self.kept,
            runs=self._book.runs.tobytes().hex() if not self.reference.training else "",
            reference=self.reference,
            levels=self.levels,
            last_audit=self.last_audit,
        )

    def _continue(self, state: WatchState) -> None:
        self.windows, self.reference_windows = list(state.windows), state.reference_windows
        self.levels, self.kept, self.reference = dict(state.levels), state.kept, state.reference
        self.answers, self.late, self.last_audit = state.answers, state.late, state.last_audit
        self.rejected, self.examples = Counter(state.rejected), list(state.rejected_examples)
        if state.runs:
            self._book = replace(self._book, runs=np.frombuffer(bytes.fromhex(state.runs), np.uint64))
        self._book = replace(self._book, medians=medians_of(self.kept))
        last = state.last_audit if state.last_audit is not None else -1
        # Pairs of an audit that the state does not know yet are drawn again, by the same seed and number.
        self.items = [one for one in self.items if one.step <= last]

    def _complete(self, pieces: Sequence[Sequence[Answer]], source: str, first: int | None, last: int | None) -> None:
        """The reference is there: what its windows are, what others are measured by, what is kept for audits."""
        answers = [one for piece in pieces for one in piece]
        self.levels = levels_of(answers)
        if not self.reference.training:
            known = [one.response for one in answers if _even(one.group)]
            # As many whole answers as fit into the limit of runs.
            reach = np.searchsorted(np.cumsum([words(text) for text in known]), _MOST_RUNS) + 1
            self._book = replace(self._book, runs=runs_of(known[:reach]) if known else self._book.runs)
        self.kept = _kept(answers, self.settings.seed)
        self._book = replace(self._book, medians=medians_of(self.kept))
        self.reference_windows = tuple(self._reference_window(piece) for piece in pieces)
        rewards = np.array([one.reward for one in answers])
        self.reference = self.reference.model_copy(
            update={
                "source": source,
                "first": first,
                "last": last,
                "answers": len(answers),
                "kept": len(self.kept),
                "reward_mean": float(rewards.mean()),
                "reward_std": float(rewards.std()),
                "length_mean": float(np.mean([words(one.response) for one in answers])),
            }
        )

    def _reference_window(self, answers: Sequence[Answer]) -> WatchWindow:
        """A window of the reference. Its novelty is that of prompts whose answers are not among the known texts."""
        window = measure(answers, self.levels, self._book)
        if self.reference.training:
            return window
        groups = np.unique([one.group for one in answers], return_inverse=True)[1]
        top = [answers[place] for place in high_reward(np.array([one.reward for one in answers]), groups)]
        new = [one.response for one in top if not _even(one.group)]
        # The other half of the prompts made the known runs: measured on these, the reference would hold nothing new.
        values = {**window.values, "novelty": novelty(new, self._book.runs) if new else None}
        return window.model_copy(update={"values": values})


def _kept(answers: Sequence[Answer], seed: int) -> tuple[WatchKept, ...]:
    """Answers that audits are drawn from: of prompts in drawn order up to eight each, until there are enough."""
    # Apart from the draws of audits, which take the seed with their number.
    rng = np.random.default_rng([seed, 0x5EED])
    groups: dict[str, list[Answer]] = {}
    for place in rng.permutation(len(answers)).tolist():
        groups.setdefault(answers[place].group, []).append(answers[place])
    found: list[WatchKept] = []
    size = 0
    for of_group in groups.values():
        made = [kept(one) for one in of_group[:_MOST_OF_PROMPT]]
        size += sum(len(one.response) + sum(len(content) for _, content in one.prompt) for one in made)
        if found and (len(found) + len(made) > _MOST_KEPT or size > _MOST_CHARACTERS):
            break
        found += made
    return tuple(found)


def _even(group: str) -> bool:
    """A fixed half of all prompts."""
    return hashlib.blake2b(group.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] % 2 == 0
