"""The model card: `README.md` beside the weights, for readers who find the model without its run directory.

    text = model_card(read_card_source(model, run, repository="org/helpful-rm"))
    path = write_card(run / "model", run)             README.md in the checkpoint, of a repository that has no name yet

It holds the metadata of the Hugging Face hub, the verdict, how to load the model, scores, what it is for, what it was
trained on, and its limits. Every sentence comes from the checkpoint's record or from a record of its run. Where nothing
was measured the card says so: silence would read as "none". A checkpoint that stands alone (exported, averaged,
imported) has no run: its card says less, and says that it does. Users' texts stand in it only where that is asked for;
files of the owner's machine are named without their folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rewardsmith.errors import RunDirectoryError
from rewardsmith.records.bounded import parse_json
from rewardsmith.records.checkpoint import CheckpointRecord, GoldenReward
from rewardsmith.records.checks import SourceCount
from rewardsmith.records.diagnosis import DiagnosisRecord
from rewardsmith.records.evaluation import BenchmarkResult, LengthBias, SubsetResult
from rewardsmith.records.files import read_record, write_text
from rewardsmith.records.probes import ProbeExample
from rewardsmith.report.formatting import (
    as_table,
    code,
    parameters,
    percent,
    plural,
    prose,
    short_hash,
    significant,
    visible,
)
from rewardsmith.report.markdown import SIGNS
from rewardsmith.report.reading import RunRecords, read_run
from rewardsmith.report.sections.diagnosis import diagnosis_sentences
from rewardsmith.report.sections.probes import WANTED, by_harm
from rewardsmith.report.sections.scores import AVERAGE, RANDOM, ScoreRow, ScoreTable, score_table, title_of
from rewardsmith.report.sections.verdict import failing, run_verdict, sentence

CARD = "README.md"
RECORD = "rewardsmith.json"


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
    sections = (_head, _loading, _scores, _use, _data, _limits, _training, _provenance)
    body = "\n\n".join("\n".join(section(source)) for section in sections)
    return f"{_front_matter(source)}\n{body}\n"


@dataclass(frozen=True, slots=True)
class CardSource:
    """A checkpoint and what is known of it.

    Attributes:
        name: what the card calls the model; the repository's id where it is published.
        published: whether `name` is a repository of the hub.
        adapter: whether the folder holds an adapter on `base` rather than whole weights.
        base: hub id of the base model; empty where it came from a folder, which is nobody else's business.
        attached: names of files that lie beside the card in the repository.
        texts: whether the card may quote users' texts.
    """

    checkpoint: CheckpointRecord
    records: RunRecords
    name: str
    published: bool = False
    adapter: bool = False
    base: str = ""
    attached: tuple[str, ...] = ()
    texts: bool = False


def read_card_source(
    model: Path,
    run: Path | None = None,
    *,
    repository: str = "",
    attached: tuple[str, ...] = (),
    texts: bool = False,
) -> CardSource:
    """Read what a card needs.

    Args:
        model: the checkpoint's folder.
        run: its run directory; None where it has none.
        repository: the hub repository that the card will stand in; the folder's own name where there is none.
        attached: files that will lie beside it.
        texts: whether it may quote users' texts.

    Raises:
        RunDirectoryError: the folder is no checkpoint of Rewardsmith, or a record cannot be read.
    """
    if not (model / RECORD).is_file():
        raise RunDirectoryError(
            f"has no {RECORD}: it is no checkpoint of Rewardsmith",
            where=str(model),
            fix="name a run directory or its model/; or import it first: rewardsmith export --to hf",
        )
    checkpoint = read_record(model / RECORD, CheckpointRecord)
    records = read_run(run) if run else RunRecords()
    adapter = model / "adapter_config.json"
    told = parse_json(adapter.read_text(encoding="utf-8")) if adapter.is_file() else {}
    base = str(told.get("base_model_name_or_path", "")) if told else checkpoint.base_model
    title = visible(records.manifest.name if records.manifest else model.resolve().name, 80)
    return CardSource(
        checkpoint=checkpoint,
        records=records,
        name=repository or title,
        published=bool(repository),
        adapter=bool(told),
        base=hub_id(base),
        attached=attached,
        texts=texts,
    )


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILES = (".jsonl", ".json", ".csv", ".parquet", ".gz")


def hub_id(name: str) -> str:
    """The name where it is a hub id; empty for a folder, a file, and what Rewardsmith makes itself."""
    known = _HUB_ID.fullmatch(name) and not name.endswith(_FILES) and not Path(name).exists()
    return name if known else ""


_DIGITS = 4
TAGS = ("reward-model", "rlhf", "preference-learning", "bradley-terry", "rewardsmith")


def _front_matter(source: CardSource) -> str:
    """The YAML that the Hugging Face hub reads, between two lines of dashes, with a result for every subset.

    Scores are shares between 0 and 1 (the Ties subset of RewardBench 2 may leave them a little), with their interval
    and baseline under `args`. A benchmark keeps the name that its rows earn: only the published data set in full is
    called by its hub id. There is no licence here: it follows from base and data, and their owner writes it.
    """
    content: dict[str, Any] = {"library_name": "peft" if source.adapter else "transformers"}
    content["pipeline_tag"] = "text-classification"
    content["tags"] = list(TAGS)
    if source.base:
        content["base_model"] = source.base
        content["base_model_relation"] = "adapter" if source.adapter else "finetune"
    datasets = _training_sets(source)
    if datasets:
        content["datasets"] = datasets
    results = [result for key, found in source.records.benchmarks.items() for result in _results(key, found)]
    if results:
        content["model-index"] = [{"name": source.name, "results": results}]
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"


def _training_sets(source: CardSource) -> list[str]:
    """Hub ids of the training data; files of the owner's machine are not named."""
    spec = source.records.spec
    ids = [hub_id(one.id) for one in spec.data.train if one.id] if spec else []
    return list(dict.fromkeys(one for one in ids if one))


def _results(key: str, result: BenchmarkResult) -> Iterator[dict[str, Any]]:
    for name, subset in result.subsets.items():
        yield _entry(key, result, name, subset.score, _of_subset(subset))
    if result.average is not None and len(result.subsets) > 1:
        low, high = result.average_ci or (None, None)
        args = {"ci_low": low, "ci_high": high, "baseline": result.average_baseline}
        yield _entry(key, result, AVERAGE, result.average, args)


def _of_subset(subset: SubsetResult) -> dict[str, Any]:
    names = ("n", "ci_low", "ci_high", "baseline", "length_baseline", "n_missing")
    return {name: getattr(subset, name) for name in names}


def _entry(
    key: str, result: BenchmarkResult, subset: str, score: float, args: Mapping[str, float | None]
) -> dict[str, Any]:
    dataset: dict[str, Any] = {
        "type": hub_id(result.dataset.source) if result.dataset.official else visible(key, 80),
        "name": title_of(result),
        "config": visible(subset, 80),
    }
    if result.dataset.official and result.dataset.revision:
        dataset["revision"] = result.dataset.revision
    known = {name: _rounded(value) for name, value in args.items() if value is not None}
    metric = {"type": "score", "value": _rounded(score), "name": f"{visible(subset, 80)} score", "args": known}
    return {
        "task": {"type": "text-classification", "name": "Reward modelling"},
        "dataset": dataset,
        "metrics": [metric],
    }


def _rounded(value: float) -> float | int:
    return value if isinstance(value, int) else round(value, _DIGITS)


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
    verdict = run_verdict(source.records)
    if source.records.gates is None:
        return
    yield from ("", f"{SIGNS[verdict.state]} **{verdict.word}.** {prose(verdict.headline)}", "")
    yield from (f"- {prose(text)}" for text in diagnosis_sentences(_without_folders(source.records), rows=False))
    yield from (f"- {prose(reason.text)}" for reason in verdict.reasons)


def _without_folders(records: RunRecords) -> DiagnosisRecord | None:
    """The diagnosis with files named as `_shown_source` names them."""
    if records.diagnosis is None:
        return None
    causes = []
    for cause in records.diagnosis.causes:
        name = cause.predicted_by.source if cause.predicted_by else ""
        shown = cause.prediction.replace(name, _shown_source(name)) if name else cause.prediction
        causes.append(cause.model_copy(update={"prediction": shown}))
    return records.diagnosis.model_copy(update={"causes": tuple(causes)})


def _shown_source(name: str) -> str:
    """A hub id as it is, a file without the folders that it lies in."""
    return hub_id(name) or visible(Path(name).name, 120)


PLACE = "path/to/this/folder"
"""What stands for the model where the card is of no repository."""

BASE_PLACE = "path/to/the/base"
"""What stands for the base of an adapter where it was a folder."""

_TOLERANCE = 0.01
_WHOLE = """\
model = AutoModelForSequenceClassification.from_pretrained(name, dtype=torch.float32).eval()
"""
_ADAPTER = """\
model = AutoModelForSequenceClassification.from_pretrained("{base}", num_labels=1, dtype=torch.float32)
model.config.pad_token_id = tokenizer.pad_token_id  # else the reward is read at the wrong token
if len(tokenizer) > model.get_input_embeddings().num_embeddings:
    model.resize_token_embeddings(len(tokenizer))
model = PeftModel.from_pretrained(model, name).eval()
"""
_MESSAGES = """\
def reward(messages):
    inputs = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits[0, 0].item()
"""
_TEXT = """\
def reward(text):
    inputs = tokenizer(text + tokenizer.eos_token, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits[0, 0].item()
"""

_HOW = """\
## How to use it

A reward is one raw number for a whole conversation; only differences between answers to the same prompt mean anything.
The saved chat template is part of the model: it ends every conversation as in training, and the reward is read at that
last token.

```python
{transformers}
```

With Rewardsmith, which checks the recorded rewards on loading and computes the shared prompt of several answers once:

```python
{rewardsmith}
```

**Not `pipeline("text-classification", …)` on raw text.** It runs and returns a number, and the number is wrong:
{wrong}
Text over the length limit may be cut at its end, which is where the reward is read. Versions and settings that apply a
sigmoid squash what is left into 0 to 1."""
_WRONG_MESSAGES = """\
it applies no chat template, so that the model sees a kind of text that it never saw in training, without the roles and
without the closing `{eos}`, and the reward is read at whichever token happens to be last."""
_WRONG_TEXT = """\
it does not close the text with `{eos}`, where the reward was read in training."""


def _loading(source: CardSource) -> Iterator[str]:
    """The section "How to use it": Python that runs, with the template, and what not to do.

    The code ends by computing a reward that the checkpoint records (a golden conversation, a fixed text of this
    project) and comparing: a wrong way to load the model ends in an error.
    """
    rendering = source.checkpoint.rendering
    wrong = _WRONG_MESSAGES if rendering.conversational else _WRONG_TEXT
    yield _HOW.format(
        transformers="\n".join(_transformers(source)),
        rewardsmith="\n".join(_rewardsmith(source)),
        wrong=wrong.format(eos=rendering.eos_token.replace("`", "")),
    )


def _transformers(source: CardSource) -> Iterator[str]:
    names = "AutoModelForSequenceClassification, AutoTokenizer"
    yield "import torch"
    if source.adapter:
        yield "from peft import PeftModel"
    yield from (f"from transformers import {names}", "", f'name = "{_loaded_from(source)}"')
    yield "tokenizer = AutoTokenizer.from_pretrained(name)"
    yield from (_ADAPTER.format(base=source.base or BASE_PLACE) if source.adapter else _WHOLE).splitlines()
    conversational = source.checkpoint.rendering.conversational
    yield from ("", "", *(_MESSAGES if conversational else _TEXT).splitlines(), "", "")
    golden = _shortest(source.checkpoint.golden)
    if golden is None:
        return
    messages = [{"role": role, "content": text} for role, text in golden.conversation]
    known = json.dumps(messages if conversational else messages[0]["content"], ensure_ascii=False)
    yield f"known = {known}"
    yield f"saved = {golden.reward:.4f}  # its reward when the model was saved"
    yield f"assert abs(reward(known) - saved) < {_TOLERANCE}"


def _rewardsmith(source: CardSource) -> Iterator[str]:
    where = _loaded_from(source)
    if source.published:
        yield from ("from huggingface_hub import snapshot_download", "")
    yield from ("from rewardsmith import LocalScorer, Message", "")
    folder = f'snapshot_download("{where}")' if source.published else f'"{where}"'
    yield f"scorer = LocalScorer.load({folder})"
    if source.checkpoint.rendering.conversational:
        yield 'question = Message("user", "What is 17 + 25?")'
        yield 'answers = [(question, Message("assistant", text)) for text in ("42", "41")]'
    else:
        yield 'answers = [(Message("text", text),) for text in ("17 + 25 = 42", "17 + 25 = 41")]'
    yield from ("rewards = scorer.score(answers)", "assert rewards.shape == (2,)")


def _loaded_from(source: CardSource) -> str:
    """What a reader writes to load the model."""
    return source.name if source.published else PLACE


def _shortest(golden: tuple[GoldenReward, ...]) -> GoldenReward | None:
    return min(golden, key=lambda one: sum(len(text) for _, text in one.conversation), default=None)


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


_LANGUAGES_SHOWN = 6
_FINDINGS_SHOWN = 10


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


_CUT = 300


def _limits(source: CardSource) -> Iterator[str]:
    """The section "Limits": what speaks against the model, and what is unknown of it."""
    yield from ("## Limits", "")
    yield from _gates(source)
    yield from _probes(source)
    yield from _attack(source)
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


def _attack(source: CardSource) -> Iterator[str]:
    """The price of a hack, where an attack has run."""
    record = source.records.attack
    if record is None or not record.attacked:
        return
    level = record.levels[-1]
    share = f"{percent(level.share)} % ({percent(level.share_low)} to {percent(level.share_high)})"
    about = f"up to {plural(level.edits, 'edit')} without meaning flip {share}"
    about += f" of {plural(record.attacked, 'pair')}"
    if level.random_share is not None:
        about += f"; as many random edits {percent(level.random_share)} %"
    if not level.complete:
        about += "; the search ended early, so that this is a lower bound"
    if record.price is None:
        yield f"- Price of a hack: beyond {plural(record.most_edits, 'edit')}; {about}."
        return
    words = "" if record.price_words is None else f", or {plural(record.price_words, 'added word')},"
    yield f"- **Price of a hack: {plural(record.price, 'edit')}**{words} for half of the pairs; {about}."


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
