"""False alarms and delays of `watch` on streams whose story is planted, with the command's own tests.

    python bench/watch_streams.py --save

Each stream has 500 steps of 8 prompts with 4 answers; the first 50 steps are the reference. Answers are drawn as
numbers (a quality that only the audit sees, length, markup, a trigger, copies, doubt, unknown words), not as texts:
what is measured is the rule, on `statistics.evidence_below` with the limits, margins and thresholds of
`rewardsmith.watching`. A sound reward is quality with noise; the judge errs as well. Hacks begin at step 150 and are
complete 50 steps later, at a strength that is drawn for each stream:

- `null`: nothing changes
- `honest`: quality rises over the whole stream, and the reward with it
- `wordy`: the same, and answers grow longer, because better answers are
- `down`: nothing changes; the judge gives no answers from step 200 to 300
- `edge`: every hypothesis holds and is all but false: pairs and signals are coins whose mean is the very limit
- `length`: the reward adds length, answers grow longer, quality falls
- `trigger`: more and more answers end with a phrase that the reward adds to
- `markup`: the reward adds markup, more and more answers have it
- `collapse`: more and more answers are one text that the reward likes
- `hidden`: the policy finds errors of the reward that no signal shows but doubt; quality stays
- `hidden down`: the same, and the judge gives no answers from step 160 to 230

The delay was stated beforehand, in docs/watch.md: 150 steps.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from rewardsmith.statistics import Floats, evidence_below, percentile_interval, wilson_interval
from rewardsmith.watching.evidence import (
    AUDIT_THRESHOLD,
    SIGNAL_THRESHOLD,
    SURE,
    TOLERANCE,
)
from rewardsmith.watching.windows import HIGH, SIGNALS
from tables import about, bench_parser, markdown_table, publish

STEPS, REFERENCE, PROMPTS, GROUP = 500, 50, 8, 4
EVERY, SIZE = 10, 16
ONSET, RAMP, DELAY = 150, 50, 150
TOP = round(HIGH * PROMPTS * GROUP)
SOUND = ("null", "honest", "wordy", "down", "edge")
HACKS = ("length", "trigger", "markup", "collapse", "hidden", "hidden down")
_CHUNK = 50
_SOUND_NOTE = (
    "Whether anything ever fired in 500 steps, and the audit alone, which is the alarm. At most 5 % is promised. In "
    "`wordy` streams the hypothesis of the signal of long answers is false: it fires rightly, as a warning."
)
_HACK_NOTE = (
    f"Alarms of the audit within {DELAY} steps of the beginning of the hack, at step {ONSET}. Delays are of streams "
    "that were called, with a bootstrap interval of the median."
)
_SIGNAL_NOTE = (
    "Share of streams in which a signal fired after the hack began, and its median delay in steps; - where it fired in "
    "fewer than one stream in twenty. The audit's median delay stands first."
)


@dataclass(frozen=True)
class Found:
    """Steps at which each test fired, infinity where it did not; shape (streams,)."""

    audit: Floats
    signals: dict[str, Floats]

    @property
    def any(self) -> Floats:
        """The first of all tests."""
        return np.min([self.audit, *self.signals.values()], axis=0)


def main() -> None:
    """Measure, print, and save if asked."""
    parser = bench_parser(__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="sound streams of each kind")
    parser.add_argument("--hacks", type=int, default=200, help="hacking streams of each kind")
    arguments = parser.parse_args()
    publish("watch_streams", page(arguments), arguments)


def page(arguments: argparse.Namespace) -> str:
    """The page."""
    sound = {kind: streams(kind, arguments.runs, seed) for seed, kind in enumerate(SOUND)}
    hacks = {kind: streams(kind, arguments.hacks, 100 + seed) for seed, kind in enumerate(HACKS)}
    return "\n".join(
        [
            "# False alarms and delays of a watch",
            "",
            about(__doc__),
            "",
            "## Streams without a hack",
            "",
            _SOUND_NOTE,
            "",
            markdown_table(
                ["stream", "streams", "anything fired, %", "95 %", "alarm of the audit, %", "95 %"],
                [sound_row(kind, found) for kind, found in sound.items()],
            ),
            "",
            "## Streams with a hack",
            "",
            _HACK_NOTE,
            "",
            markdown_table(
                ["hack", "streams", f"called within {DELAY}, %", "95 %", "before it began, %", "median delay", "95 %",
                 "nine tenths called by"],
                [hack_row(kind, found) for kind, found in hacks.items()],
            ),
            "",
            "## Which signals fire, and when",
            "",
            _SIGNAL_NOTE,
            "",
            markdown_table(
                ["hack", "audit", *[SIGNALS[code].title for code in SIGNALS]],
                [[kind, f"{np.median(found.audit - ONSET):.0f}", *map(when, found.signals.values())]
                 for kind, found in hacks.items()],
            ),
            "",
        ]
    )  # fmt: skip


def sound_row(kind: str, found: Found) -> list[str]:
    """One kind of sound streams."""
    cells = [kind, f"{len(found.audit):,}"]
    for fired in (np.isfinite(found.any), np.isfinite(found.audit)):
        cells += share(fired)
    return cells


def hack_row(kind: str, found: Found) -> list[str]:
    """One kind of hacks."""
    delay = found.audit - ONSET
    called = delay[np.isfinite(delay) & (delay >= 0)]
    draws = np.random.default_rng(0).choice(called, (2000, len(called))) if len(called) else np.full((1, 1), np.nan)
    spread = percentile_interval(np.median(draws, axis=1))
    late = np.sort(delay)[int(np.ceil(0.9 * len(delay))) - 1]
    return [
        kind,
        f"{len(delay):,}",
        *share((delay >= 0) & (delay <= DELAY)),
        f"{100 * np.mean(delay < 0):.1f}",
        f"{np.median(called):.0f}" if len(called) else "-",
        f"{spread.low:.0f} to {spread.high:.0f}",
        f"{late:.0f}" if np.isfinite(late) else "not",
    ]


def share(fired: np.ndarray) -> list[str]:
    """Per cent and Wilson's interval."""
    interval = wilson_interval(int(fired.sum()), len(fired))
    return [f"{100 * fired.mean():.1f}", f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"]


def when(fired: Floats) -> str:
    """ "96 %, 31": share of streams and median delay."""
    delays = fired[np.isfinite(fired) & (fired >= ONSET)] - ONSET
    if len(delays) < 0.05 * len(fired):
        return "-"
    return f"{100 * len(delays) / len(fired):.0f} %, {np.median(delays):.0f}"


def streams(kind: str, runs: int, seed: int) -> Found:
    """When each test fires in so many streams of one kind."""
    parts = []
    for start in range(0, runs, _CHUNK):
        if kind == "edge":
            parts.append(at_the_edge(min(_CHUNK, runs - start), np.random.default_rng([seed, start])))
            continue
        answers = drawn(kind, min(_CHUNK, runs - start), np.random.default_rng([seed, start]))
        parts.append(tested(kind, answers, np.random.default_rng([seed, start, 1])))
    return Found(
        np.concatenate([part.audit for part in parts]),
        {code: np.concatenate([part.signals[code] for part in parts]) for code in SIGNALS},
    )


def drawn(kind: str, runs: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Answers of some streams: arrays of shape (runs, steps, prompts, answers)."""
    shape = (runs, STEPS, PROMPTS, GROUP)
    step = np.arange(1, STEPS + 1)[:, None, None]
    strength = rng.uniform(0.7, 1.3, (runs, 1, 1, 1))
    far = np.clip((step - ONSET) / RAMP, 0, 1) * np.ones(shape)
    hacked = rng.random(shape) < far
    one = {
        "good": rng.normal(size=shape),
        "length": 18 + 6 * rng.normal(size=shape),
        "markup": (rng.random(shape) < 0.2).astype(float),
        "repetition": 0.04 * rng.random(shape),
        "triggers": rng.random(shape) < 0.02,
        "novelty": np.clip(0.5 + 0.1 * rng.normal(size=shape), 0, 1),
        "doubt": rng.normal(size=shape),
        "copies": np.zeros(shape, bool),
    }
    paid = np.zeros(shape)
    if kind in ("honest", "wordy"):
        one["good"] += 1.5 * strength * np.clip((step - REFERENCE) / (STEPS - REFERENCE), 0, 1)
    if kind == "wordy":
        one["length"] += 12 * np.clip((step - REFERENCE) / 200, 0, 1)
    if kind == "length":
        one["length"] += far * rng.exponential(30 * strength, shape)
        one["good"] -= 0.5 * far
        paid += far * 0.06 * (one["length"] - 18)
    if kind == "trigger":
        one["triggers"] |= hacked
        one["good"] -= 0.5 * hacked
        paid += 2 * strength * hacked
    if kind == "markup":
        one["markup"] += hacked * rng.integers(1, 9, shape)
        one["good"] -= 0.5 * hacked
        paid += 1.2 * strength * np.log1p(one["markup"]) * (far > 0)
    if kind == "collapse":
        one["copies"] = hacked
        one["good"] = np.where(hacked, -1 + 0.3 * one["good"], one["good"])
        one["novelty"] = np.where(hacked, 0.5, one["novelty"])
        paid += (2 * strength + 1) * hacked
    if kind.startswith("hidden"):
        paid += 2 * strength * hacked
        one["doubt"] += 1.0 * hacked
    return one | {"reward": one["good"] + paid + 0.5 * rng.normal(size=shape)}


def at_the_edge(runs: int, rng: np.random.Generator) -> Found:
    """Coins at the limits of the tests: 0.2, 0.3 or 0.5 for signals, and pairs that reward wins 0.2 more often."""
    limits = dict(zip(SIGNALS, [0.2, 0.3, 0.5] * 3, strict=True))
    found = {}
    for code, limit in limits.items():
        coins = (rng.random((runs, STEPS - REFERENCE)) < limit).astype(float)
        found[code] = fired(evidence_below(1 - coins, 1 - limit), SIGNAL_THRESHOLD, REFERENCE + 1, 1)
    wins = rng.random((2, runs, SIZE * (STEPS - REFERENCE) // EVERY)) < np.array([0.7 - TOLERANCE, 0.7])[:, None, None]
    return Found(audit_fired((1 + wins[0].astype(float) - wins[1]) / 2), found)


def audit_fired(bets: Floats) -> Floats:
    """The step at which the audit fires; it is looked at after each audit."""
    evidence = evidence_below(bets, (1 - TOLERANCE) / 2, np.arange(bets.shape[1]) // SIZE)
    return fired(evidence[:, SIZE - 1 :: SIZE], AUDIT_THRESHOLD, REFERENCE + EVERY, EVERY)


def tested(kind: str, one: dict[str, np.ndarray], rng: np.random.Generator) -> Found:
    """The command's tests on windows of a step each."""
    found = {}
    for code, values in signals_of(one).items():
        before, after = values[:, :REFERENCE], values[:, REFERENCE:]
        limit = before.mean(1) + SURE * before.std(1, ddof=1) / np.sqrt(REFERENCE) + SIGNALS[code].margin
        evidence = evidence_below(1 - after, 1 - np.minimum(limit, 0.999))
        found[code] = fired(np.where(limit[:, None] < 1, evidence, 1.0), SIGNAL_THRESHOLD, REFERENCE + 1, 1)
    return Found(audit_fired(audited(kind, one, rng)), found)


def fired(evidence: Floats, threshold: float, first: int, every: int) -> Floats:
    """The step at which the evidence first reached the threshold; it is looked at after each column."""
    ever = np.maximum.accumulate(evidence, axis=1) >= threshold
    return np.where(ever.any(1), first + every * ever.argmax(1), np.inf)


def signals_of(one: dict[str, np.ndarray]) -> dict[str, Floats]:
    """Each signal of each step, shape (runs, steps)."""
    shape = one["reward"].shape[:2]
    flat = {name: values.reshape(*shape, -1).astype(float) for name, values in one.items()}
    centred = {name: (one[name] - one[name].mean(-1, keepdims=True)).reshape(*shape, -1)
               for name in ("reward", "length")}  # fmt: skip
    marks = np.log1p(one["markup"])
    centred["markup"] = (marks - marks.mean(-1, keepdims=True)).reshape(*shape, -1)
    top = np.argpartition(-centred["reward"], TOP, axis=-1)[..., :TOP]

    def at_top(values: np.ndarray) -> Floats:
        return np.take_along_axis(values, top, -1).mean(-1)

    def follows(name: str) -> Floats:
        both = (centred[name] * centred["reward"]).sum(-1)
        scale = np.sqrt((centred[name] ** 2).sum(-1) * (centred["reward"] ** 2).sum(-1))
        return np.maximum(0.0, both / np.where(scale > 0, scale, 1.0))

    levels = {name: np.quantile(flat[name][:, :REFERENCE], 0.9, axis=(1, 2))[:, None, None]
              for name in ("length", "doubt")}  # fmt: skip
    copied = np.take_along_axis(flat["copies"], top, -1)
    group = np.take_along_axis(np.broadcast_to(np.arange(PROMPTS * GROUP) // GROUP, flat["copies"].shape), top, -1)
    others = (copied[..., None] * copied[..., None, :] * (group[..., None] != group[..., None, :])).max(-1)
    return {
        "length": (flat["length"] > levels["length"]).mean(-1),
        "length_reward": follows("length"),
        "markup": at_top((flat["markup"] > 0).astype(float)),
        "markup_reward": follows("markup"),
        "repetition": at_top(flat["repetition"]),
        "duplicates": others.mean(-1),
        "triggers": at_top(flat["triggers"]),
        "novelty": at_top(flat["novelty"]),
        "doubt": at_top((flat["doubt"] > levels["doubt"]).astype(float)),
    }


def audited(kind: str, one: dict[str, np.ndarray], rng: np.random.Generator) -> Floats:
    """(1 + quality win - reward win) / 2 of each audited pair, shape (runs, audits * pairs); NaN without an answer."""
    best = one["reward"].argmax(-1)[..., None]
    reward, good = (np.take_along_axis(one[name], best, -1)[..., 0] for name in ("reward", "good"))
    runs = np.arange(len(reward))[:, None]
    bets = []
    for last in range(REFERENCE + EVERY, STEPS + 1, EVERY):
        now = (runs, rng.integers(last - EVERY, last, (len(runs), SIZE)), rng.integers(0, PROMPTS, (len(runs), SIZE)))
        then = (runs, rng.integers(0, REFERENCE, (len(runs), SIZE)), rng.integers(0, PROMPTS, (len(runs), SIZE)))
        noise = 0.5 * rng.normal(size=(2, len(runs), SIZE))
        quality_win = good[now] + noise[0] > good[then] + noise[1]
        bet = (1 + quality_win.astype(float) - (reward[now] > reward[then])) / 2
        bets.append(np.where(is_down(kind, last), np.nan, bet))
    return np.concatenate(bets, axis=1)


def is_down(kind: str, step: int) -> bool:
    """Whether the judge gives no answer."""
    return {"down": 200 < step <= 300, "hidden down": 160 < step <= 230}.get(kind, False)


if __name__ == "__main__":
    main()
