"""The model card: `README.md` beside the weights, for whoever finds the model without its run directory.

    text = model_card(read_card_source(model, run, repository="org/helpful-rm"))
    path = write_card(run / "model", run)             README.md in the checkpoint, of a repository that has no name yet

It holds the metadata of the Hugging Face hub (`card_metadata`), the verdict, how to load the model (`card_loading`),
scores, what it is for, what it was trained on, and its limits (`card_limits`). Users' texts stand in it only where that
is asked for; files of the owner's machine are named without their folders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rewardsmith.records import SourceCount, write_text
from rewardsmith.report.card_limits import limits
from rewardsmith.report.card_loading import loading
from rewardsmith.report.card_metadata import front_matter
from rewardsmith.report.card_sources import CardSource, hub_id, read_card_source
from rewardsmith.report.formatting import parameters, percent, plural, short_hash, visible
from rewardsmith.report.markdown import SIGNS
from rewardsmith.report.markdown_text import as_table, prose
from rewardsmith.report.scores import RANDOM, ScoreRow, ScoreTable, score_table
from rewardsmith.report.verdict import judge_run, sentence

CARD = "README.md"

_LANGUAGES_SHOWN = 6
_FINDINGS_SHOWN = 10


def write_card(model: Path, run: Path | None = None) -> Path:
    """Write `README.md` into a checkpoint; returns its path.

    Raises:
        RunDirectoryError: the folder is no checkpoint of ours, a record cannot be read, or it cannot be written.
    """
    path = model / CARD
    write_text(path, model_card(read_card_source(model, run)))
    return path


def model_card(source: CardSource) -> str:
    """The card as Markdown, ending in one newline. The same source gives the same bytes."""
    sections = (_head, loading, _scores, _use, _data, limits, _training, _provenance)
    body = "\n\n".join("\n".join(section(source)) for section in sections)
    return f"{front_matter(source)}\n{body}\n"


def _head(source: CardSource) -> Iterator[str]:
    yield f"# {prose(source.name)}"
    yield ""
    check, train = source.records.check, source.records.train
    base = f" from [{prose(source.base)}](https://huggingface.co/{source.base})" if source.base else ""
    pairs = f" on {plural(check.train_pairs, 'preference pair')}" if check else ""
    size = f" ({parameters(train.base_parameters)} parameters)" if train and train.base_parameters else ""
    yield (
        "A reward model: a conversation in, one number out, higher for the answer that people would prefer. "
        f"Trained{base}{size}{pairs}, one epoch of Bradley-Terry."
    )
    verdict = judge_run(source.records)
    if source.records.gates is None:
        return
    yield from ("", f"{SIGNS[verdict.state]} **{verdict.word}.** {prose(verdict.headline)}", "")
    yield from (f"- {prose(reason.text)}" for reason in verdict.reasons)


def _scores(source: CardSource) -> Iterator[str]:
    yield "## Scores"
    if not source.records.benchmarks:
        yield from ("", *_recorded_scores(source))
    for key, result in source.records.benchmarks.items():
        table = score_table(key, result)
        yield from ("", f"### {prose(table.title)}", "", f"Rows: {_place(table)}. {prose(table.protocol)}", "")
        rows = [*table.rows, *([table.average] if table.average else [])]
        columns = ["Subset", "Rows", "Score, %", "95 % interval", *table.baseline_names]
        yield from as_table(columns, [_score_row(row) for row in rows], right=range(1, len(columns)))
        if not table.official and not table.held_out:
            yield from ("", "Not the published data set in full: the numbers are not leaderboard scores.")
    yield from ("", f'{RANDOM} and length-only are what guessing and "the longer one wins" reach on the same rows.')


def _recorded_scores(source: CardSource) -> Iterator[str]:
    """What the checkpoint itself remembers: scores without intervals, or nothing."""
    known = source.checkpoint.evaluation
    if not known:
        yield "This model has not been evaluated."
        return
    rows = [
        [prose(visible(key, 80)), prose(visible(name, 80)), str(percent(value))]
        for key, scores in known.items()
        for name, value in scores.items()
    ]
    yield from as_table(["Benchmark", "Subset", "Score, %"], rows, right=[2])


def _score_row(row: ScoreRow) -> list[str]:
    interval = f"{row.low} to {row.high}" if row.low.value is not None else "–"
    rows = f"{row.n} ({row.missing:,} rewards missing)" if row.missing else str(row.n)
    return [prose(row.name), rows, f"**{row.score}**", interval, *map(str, row.baselines)]


def _place(table: ScoreTable) -> str:
    return prose(_shown_source(table.source)) + (", the published data set in full" if table.official else "")


def _shown_source(name: str) -> str:
    """A hub id as it is, a file without the folders that it lies in."""
    return hub_id(name) or visible(Path(name).name, 120)


def _use(source: CardSource) -> Iterator[str]:
    spec = source.records.spec
    policy = hub_id(spec.policy.id) if spec and spec.policy.id else ""
    size = parameters(spec.policy.parameters) if spec and spec.policy.parameters else ""
    named = prose(policy) if policy else f"a policy of {size} parameters" if size else ""
    yield from ("## Intended use", "")
    yield "Comparing answers to one prompt: rewards for PPO, GRPO or RLOO, and best-of-N sampling."
    if named:
        yield f"It was made for {named}."
    yield from ("", "Not intended:", "")
    yield "- As a judge of truth or safety by itself: it knows what raters preferred, not what is true."
    yield "- To compare answers to different prompts, or with an absolute threshold: a reward has no zero."
    yield "- For kinds of prompts and languages that its data do not hold (below), without evaluating it on them first."


def _data(source: CardSource) -> Iterator[str]:
    yield from ("## Data", "")
    check = source.records.check
    if check is None:
        yield "The run that made this checkpoint is not at hand; its data are known by fingerprint only (below)."
        return
    pairs = f"{plural(check.train_pairs, 'training pair')} and {plural(check.held_out_pairs, 'held-out pair')}"
    prompts = plural(check.distinct_prompts, "distinct prompt")
    yield f"{pairs} with {prompts}; {check.rejected:,} of {plural(check.read, 'row')} left out."
    yield ""
    yield from as_table(["Source", "Role", "Rows", "Kept"], [_source_row(one) for one in check.sources], right=[2, 3])
    languages = check.balance.languages if check.balance else None
    if languages and languages.shares:
        shown = ", ".join(f"{one.language} {percent(one.share)} %" for one in languages.shares[:_LANGUAGES_SHOWN])
        yield from ("", f"Languages of the prompts (sampled): {prose(shown)}.")
    contamination = check.contamination
    if contamination:
        yield from (
            "",
            f"{plural(contamination.contaminated_pairs, 'training pair')} hold a prompt of a benchmark above.",
        )
    serious = [finding for finding in check.findings if finding.severity != "note"][:_FINDINGS_SHOWN]
    if serious:
        yield from ("", "What the data contract found:", "")
        yield from (f"- {prose(sentence(f'{one.title}: {one.count:,} of {one.of:,}'))}" for one in serious)


def _source_row(one: SourceCount) -> list[str]:
    return [prose(_shown_source(one.source)), one.role.replace("_", " "), f"{one.read:,}", f"{one.kept:,}"]


def _training(source: CardSource) -> Iterator[str]:
    yield from ("## Training", "")
    train, spec = source.records.train, source.records.spec
    if train is None or spec is None:
        yield "One epoch with the loss -log sigmoid(r\\_chosen − r\\_rejected)."
        return
    method = {"none": "all weights"}.get(train.adapter, train.adapter)
    yield (
        f"One epoch of {plural(train.steps, 'step')} with {plural(train.pairs_per_step, 'pair')} each, {method}, "
        f"learning rate {spec.training.learning_rate:g}, {train.dtype}, seed {spec.training_seed}; the loss is -log "
        f"sigmoid(r\\_chosen − r\\_rejected). The margin monitor says: {prose(train.monitor.verdict)}."
    )


def _provenance(source: CardSource) -> Iterator[str]:
    checkpoint = source.checkpoint
    yield from ("## Provenance", "")
    yield f"- Made with Rewardsmith {prose(checkpoint.rewardsmith_version)}; rewards are raw and never normalised."
    for one in checkpoint.data_fingerprints:
        yield f"- Data fingerprint: `{short_hash(one)}`"
    yield f"- Chat template: `{short_hash(checkpoint.rendering.template_sha256)}` (SHA-256)"
    if checkpoint.parents:
        yield f"- The average of {plural(len(checkpoint.parents), 'checkpoint')} of one base."
    if source.attached:
        files = " and ".join(f"[{name}]({name})" for name in source.attached)
        without = "" if source.texts else ", without users' texts"
        yield f"- The whole report of the run{without}: {files}"
