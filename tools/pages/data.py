"""Pages that are written from the code: docs/data_contract.md from the checks, docs/public_data.md from the schemas."""

from __future__ import annotations

import re
import textwrap

from rewardsmith.data.checks import Check
from rewardsmith.data.forms.published import PUBLISHED, Published
from rewardsmith.data.registry import CHECKS
from rewardsmith.rendering import REASONS

_WIDTH = 120

_HEAD = """# The data contract

`rewardsmith check SPEC` reads the preference pairs as training will read them, with its tokenizer, template and limits,
and says what would silently ruin the reward model: where, how much, and what to do. `train` refuses to start before it
has passed.

```bash
rewardsmith check spec.yaml                         # all rows; check.json, rejected.jsonl and a table
rewardsmith check spec.yaml --show 2                # also two pairs of each source, as read and as the model sees them
rewardsmith check spec.yaml --sample 5000           # a quick look: 5,000 rows of each source, no verdict
rewardsmith check spec.yaml --skip-bad-lines        # steps over lines that cannot be read, and writes them down
rewardsmith check spec.yaml --fix clean             # the data without the rows that findings name
```

It ends with 0, with 1 where a finding is listed under `data.fail_on`, and with 2 where the data cannot be read at all
(the message names file, line and fix). Severities can be changed:

```yaml
data:
  severity: {duplicate_pair: error, personal_data: warning}
  fail_on: [error]
```

## How it works

Rows pass once: read, checked for their form, rendered, checked as tokens, kept in a temporary file on disk (`TMPDIR`
needs room for twice the data), and shown to the surveys, which remember numbers and not texts. A million pairs of two
kilobytes take [minutes and less than three gigabytes](../bench/results/check_scale.md), and the time grows with the
number of rows. What real files show stands in [data_findings.md](../bench/results/data_findings.md).

- Every row that is left out stands in `rejected.jsonl` with its reason. By source, rows: read = used + rejected + left
  out by the mixture; comparisons: formed = pairs + ties + capped ([forms](public_data.md)).
- Prompts that are nearly the same never stand on both sides of a split by `data.held_out.fraction`.
- Shares of rows have Wilson's 95 % interval; rules and classifiers have one that counts the pairs of a prompt together.
- Shortcuts are measured on the training part; classifiers are cross-validated and never see a prompt on both sides.
- What is contaminated is said per benchmark of the spec and per subset.
- Secrets and personal data are counted by kind; the text that matched stands in no record, report or log.
- After training, the margin of each pair when it was met says which labels are suspect (`label_noise.json`).

## `--fix OUT`

`OUT/train.jsonl` (and `held_out.jsonl`, where the spec names held-out sources) has the rows that stay, `removed.jsonl`
every other row with its reason, `fix.json` the counts, and `spec.yaml` the same spec over these files. Checking it
finds none of what was fixed. Of duplicates the first row stays, of contradictory labels the majority, of leaks the
held-out side (with `--drop-leaked held_out` the training side). Rows of shortcuts and of imbalance stay: leaving out
rows until a shortcut is gone is a decision about what the data are for.

## The findings
"""
_BY_THE_READER = {
    *REASONS, "bad_line", "missing_field", "not_text", "unknown_role", "unread_key", "missing_prompt", "prompt_differs",
    "histories_differ", "transcript", "serialised", "unknown_verdict", "tie", "no_comparison", "broken_tree",
}  # fmt: skip


def contract_page() -> str:
    """The page: how the check works, and every finding with its severity, meaning, reason and fix."""
    parts: dict[str, list[str]] = {
        "A row is left out": [],
        "A row stays, and is counted": [],
        "The data as a whole": [],
    }
    for check in CHECKS.values():
        parts[_part(check)].append(_entry(check))
    return _HEAD + "\n".join(f"\n### {title}\n\n" + "\n".join(entries) for title, entries in parts.items()) + "\n"


def _part(check: Check) -> str:
    if check.pair or check.tokens or check.code in _BY_THE_READER:
        return "A row is left out"
    return "A row stays, and is counted" if check.note else "The data as a whole"


def _entry(check: Check) -> str:
    text = f"- **{check.title}** (`{check.code}`, {check.severity}). {check.meaning} {check.why} *Fix:* {check.fix}."
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


_PUBLIC_HEAD = """# Public data sets and annotation tools

`rewardsmith init DIR --data FILE_OR_HUB_ID` recognises how a file writes its preferences, says what its label means
and from where that is known, shows one row as it will be read, and writes all of it into the spec. `check` and `run`
read what the spec says, and guess nothing: a column that says which answer is better, and that nothing reads, is an
error.

```bash
rewardsmith init shp --data stanfordnlp/SHP         # a hub id; or a file in the same schema
rewardsmith check shp/spec.yaml --show 2            # two pairs, as read and as the model sees them
```

## The forms

| `form.kind` | what it is | what the spec says |
|---|---|---|
| `pair` | a better and a worse answer in columns of their own | `columns.chosen`, `columns.rejected`; `ties` |
| `comparison` | two answers and a verdict | `first`, `second` and one of the eight ways below |
| `list` | several answers with scores or ranks | `answers`, `score` (or `scores`, `ranking`, `rankings`), `better` |
| `grouped` | one answer a row (thumbs too), compared by prompt | `answer`, `score`, `better` |
| `tree` | messages that answer each other, a row each or a tree a row | `id`, `parent` or `root`; `score`, `without` |
| `transcript` | sides written as `Human: …`, `Assistant: …`, or ChatML | `transcript`: how the turns are marked |
| `openai` | `input.messages`, `preferred_output`, `non_preferred_output` | nothing more |

A comparison says which answer is better in exactly one way: `verdict` (a column with a map of its values), `strength`
(a signed number), `scores` (one of each), `one_hot` (a column for each outcome), `named` (the name of the winner's
column), `votes` (a list of values), `rankings` (a list of rankings) or `probability` (that the first answer is the
better one: above 0.5 it wins, 0.5 is a tie, and the margin is 2p - 1 of the winner); of several annotators the majority
counts. A value that is not named is a rejected row. Ties are left out as `tie`, counted, and no bad rows. Strengths and
scores that are words get numbers: `strength: {column: said, first_is: positive, words: {A is much better: 2, …}}`.

```yaml
data:
  train:
    - path: ratings.csv
      form:
        kind: comparison
        first: answer_a
        second: answer_b
        verdict: {column: winner, values: {first: [a], second: [b], tie: [tie, both bad]}}
      columns: {prompt: question, system: instructions, context: passage}
      roles: {narrator: system}
      ignore: [internal_notes]
```

`list` and `grouped` make pairs of the answers to one prompt: `pairs: all`, `best_vs_rest` or `adjacent`; `min_gap` is
the smallest difference that is no tie, and `max_pairs` caps the pairs of a prompt, drawn by a hash of their texts. The
pairs of a prompt stay on one side of a split; the margin is the gap. The answers of a list stand in one column, in an
object by name, or in columns of their own (`answers: [answer_a, answer_b, answer_c]`); `ranking` reads `B>A=C` or a
list of names from best to worst, `rankings` a list of rankings, one for each annotator: every two answers are then
compared by the majority, and the margin is its lead. Thumbs (`label: true`) are scores of 1 and 0: an answer whose
prompt has no other label is left out as `no_comparison` and counted.

`tree` compares the assistant's replies to one message by their ranks (0 is the best, unless `better: higher`); the
prompt is the path from the root, and the pairs of a tree stay on one side of a split. Rows are messages that name their
parent (`id`, `parent`), or whole trees (`root: prompt`, with `replies` inside `replies`). A message without a rank is
compared with none. What `without` names is left out with all below it. A row that is a message counts as used where it
is an answer of a pair or stands in a prompt; every other one is rejected with its reason. `tree` names the column of
the tree's id, so that `limit`, `rows`, `share` and a quick look take whole trees.

**Names of columns may be paths**: `question.full_text`, `summaries[0].text`, `messages[:-1]`, `annotations[*].value`,
`info.post|info.article` (the first that is there). `columns` also maps `system`, `history`, `context`, `input` and
`tools`. Tools come first, then the system message, then the history, then a context of messages; a context that is
text stands above the prompt with an empty line between, an input below it. Columns that look like context and are not
read are a warning, and an error where every row has them, until they are mapped or listed under `ignore`.

**A mixture** takes a part of a source, by prompt, drawn by the seed, without repetition: `rows: 20000`, `share: 0.2`,
or `weight: 2` (rows in proportion to the weights, as many as the smallest source allows). The report judges it:
held-out pairs by source, with accuracy, interval, mean margin and training pairs of each ([report](report.md)).

**Other commands** (`evaluate --benchmark pairs`, `probe`, `score`, `explain`, `route calibrate`) take such a spec in
place of the data file: `rewardsmith score --input shp/spec.yaml …` reads its source in its form.

## What is known
"""


def public_page() -> str:
    """The page of published schemas."""
    return _PUBLIC_HEAD + "".join(map(_published_entry, PUBLISHED))


def slug(name: str) -> str:
    """A folder's name for a data set."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower().replace("ü", "u")))[:40].rstrip("-")


def _published_entry(known: Published) -> str:
    """One schema: the two commands, what its label means, and what is dropped."""
    data = known.ids[0] if known.ids else "export" + (".csv" if "CSV" in known.name else ".jsonl")
    folder = slug(known.name)
    ids = f" Hub ids: {', '.join(f'`{one}`' for one in known.ids)}." if known.ids else ""
    label = [f"The label: {known.meaning}. Known from {known.source}.{ids}"]
    label.append(f"Compared with {known.checked}." if known.checked else "Not compared with the source since.")
    if known.dropped:
        label.append(f"Not read: {known.dropped}.")
    if known.choices:
        label.append(f"Another label: `--label {'`, `--label '.join(known.choices)}`.")
    text = textwrap.fill(" ".join(label), _WIDTH, break_long_words=False, break_on_hyphens=False)
    commands = f"rewardsmith init {folder} --data {data}\nrewardsmith check {folder}/spec.yaml --show 2\n"
    return f"\n### {known.name}\n\n```bash\n{commands}```\n\n{text}\n"
