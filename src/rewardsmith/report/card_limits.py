"""What a model card says against its model: gates and probes that fail, length, calibration, labels, what is unknown.

Every sentence comes from a record of the run. Where nothing was measured the card says so: silence would read as
"none".
"""

from __future__ import annotations

from collections.abc import Iterator

from rewardsmith.records import BenchmarkResult, LengthBias, ProbeExample
from rewardsmith.report.card_sources import CardSource
from rewardsmith.report.formatting import percent, plural, significant, visible
from rewardsmith.report.markdown_text import code, prose
from rewardsmith.report.probes import WANTED, by_harm
from rewardsmith.report.verdict import failing, sentence

_CUT = 300


def limits(source: CardSource) -> Iterator[str]:
    """The section "Limits"."""
    yield from ("## Limits", "")
    yield from _gates(source)
    yield from _probes(source)
    yield from (line for result in source.records.benchmarks.values() for line in _length(result))
    yield from _calibration(source)
    noise = source.records.noise
    if noise:
        yield f"- Labels: {prose(sentence(noise.statement))}"
    for row in source.records.ood.rows if source.records.ood else ():
        if row.flag:
            yield f"- {prose(sentence(row.text))}"
    yield from _always(source)


def _gates(source: CardSource) -> Iterator[str]:
    if source.records.gates is None:
        yield "- **Not judged**: no gates have been applied to this model."
    for kind in ("gate", "warning"):
        for outcome in failing(source.records, "gate" if kind == "gate" else "warning"):
            place = " ".join(part for part in (visible(outcome.benchmark, 80), visible(outcome.subset, 80)) if part)
            word = "**A gate does not pass**" if kind == "gate" else "A warning"
            yield f"- {word}{f' ({prose(place)})' if place else ''}: {prose(sentence(outcome.message))}"


def _probes(source: CardSource) -> Iterator[str]:
    record = source.records.probes
    if record is None:
        yield "- **Not probed**: whether the reward follows length, layout, flattery or confidence is not known."
        return
    failed = {name: probe for name, probe in by_harm(record).items() if probe.verdict == "FAIL"}
    held = sum(probe.verdict == "PASS" for probe in record.probes.values())
    drawn = f"{plural(record.drawn, 'response')} of {prose(visible(record.title, 80))}"
    yield f"- Bias probes: {held} of {len(record.probes)} hold, on edits of {drawn}."
    for probe in failed.values():
        wrong = f"{percent(probe.wrong)} % go the wrong way ({percent(probe.wrong_low)} to {percent(probe.wrong_high)})"
        shift = f", by {significant(probe.shift)} standard deviations on average" if probe.shift is not None else ""
        yield f"  - {prose(visible(probe.title, 80))}: the reward {WANTED[probe.kind]}, and {wrong}{shift}."
        if source.texts and probe.examples:
            yield from _example(probe.examples[0])
    unknown = [visible(probe.title, 80) for probe in record.probes.values() if probe.verdict == "NO_DATA"]
    if unknown:
        yield f"  - Too few responses to say: {prose(', '.join(unknown))}."


def _example(example: ProbeExample) -> Iterator[str]:
    """The worst one, where the owner asked for texts."""
    shown = {"prompt": example.prompt, "before": example.original, "after": example.edited}
    for name, text in shown.items():
        yield f"    - {name}: {code(visible(text, _CUT))}"
    yield f"    - reward {significant(example.reward)} before, {significant(example.reward_edited)} after"


def _length(result: BenchmarkResult) -> Iterator[str]:
    found: LengthBias | None = result.analysis.length if result.analysis else None
    if found is None or found.pearson is None or found.pearson_ci is None:
        return
    low, high = found.pearson_ci
    if low <= 0 <= high:
        return
    longer = "longer" if found.pearson > 0 else "shorter"
    share = found.longer_wrong.accuracy
    yield (
        f"- Length ({prose(visible(result.title, 80))}): within a prompt, {longer} answers get higher rewards "
        f"(correlation {significant(found.pearson)}, {significant(low)} to {significant(high)})"
        + (f"; where the longer answer is the wrong one, accuracy is {percent(share)} %." if share is not None else ".")
    )


def _calibration(source: CardSource) -> Iterator[str]:
    known = source.checkpoint.calibration or {}
    if "temperature" in known:
        error = f", calibration error {significant(known['ece'])}" if "ece" in known else ""
        yield (
            f"- Margins as probabilities: sigmoid(margin / {significant(known['temperature'])}){error}, on "
            "held-out pairs; on other data it may differ."
        )
    else:
        yield "- Margins are not calibrated as probabilities."


def _always(source: CardSource) -> Iterator[str]:
    rendering = source.checkpoint.rendering
    policy = {
        "drop": "longer ones have no reward here",
        "truncate_prompt": "of longer ones the beginning is cut",
        "error": "longer ones are refused",
    }
    how = policy.get(rendering.over_length, "")
    yield f"- Conversations of up to {rendering.max_length:,} tokens were seen in training{f'; {how}' if how else ''}."
    yield "- Text only. Optimised hard, any reward model is exploited: watch the policy's texts, not the reward alone."
