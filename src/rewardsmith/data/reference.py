"""docs/data_contract.md, written from the checks themselves: what each finding means, why it matters, what to do.

python -m rewardsmith.data.reference docs
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from rewardsmith.data.checks.check import Check
from rewardsmith.data.registry import CHECKS
from rewardsmith.records import write_text
from rewardsmith.rendering import REASONS

PAGE = "data_contract.md"

_WIDTH = 120

_HEAD = """# The data contract

`rewardsmith check SPEC` reads the preference pairs as training will read them, with its tokenizer, template and limits,
and says what would silently ruin the reward model: where, how much, and what to do. `train` refuses to start before it
has passed.

```bash
rewardsmith check spec.yaml                         # all rows; check.json, rejected.jsonl and a table
rewardsmith check spec.yaml --sample 5000           # a quick look: 5,000 rows of each source, no verdict
rewardsmith check spec.yaml --skip-bad-lines        # steps over lines that cannot be read, and writes them down
rewardsmith check spec.yaml --fix clean             # the data without the rows that findings name
```

It ends with 0, with 1 where a finding is listed under `data.fail_on`, and with 2 where the data cannot be read at all
(the message names file, line and mend). Severities can be changed:

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

- Every row that is left out stands in `rejected.jsonl` with its reason; read = kept + rejected, always.
- Prompts that are nearly the same never stand on both sides of a split by `data.held_out.fraction`.
- Shares of rows have Wilson's 95 % interval; rules and classifiers have one that counts the pairs of a prompt together.
- Shortcuts are measured on the training part; classifiers are cross-validated and never see a prompt on both sides.
- What is contaminated is said per benchmark of the spec and per subset.
- Secrets and personal data are counted by kind; the text that matched stands in no record, report or log.
- After training, the margin of each pair when it was met says which labels are suspect (`label_noise.json`).

## `--fix OUT`

`OUT/train.jsonl` (and `held_out.jsonl`, where the spec names held-out sources) has the rows that stay, `removed.jsonl`
every other row with its reason, `fix.json` the counts, and `spec.yaml` the same spec over these files. Checking it
finds none of what was mended. Of duplicates the first row stays, of contradictory labels the majority, of leaks the
held-out side (with `--drop-leaked held_out` the training side). Rows of shortcuts and of imbalance stay: leaving out
rows until a shortcut is gone is a decision about what the data are for.

## The findings
"""
_BY_THE_READER = {
    *REASONS, "bad_line", "missing_field", "not_text", "unknown_role", "unread_key", "missing_prompt", "prompt_differs",
    "histories_differ", "transcript", "serialised", "unknown_verdict", "tie", "no_comparison",
}  # fmt: skip


def contract_page() -> str:
    """The page: how the check works, and every finding with its severity, meaning, reason and mend."""
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
    text = f"- **{check.title}** (`{check.code}`, {check.severity}). {check.meaning} {check.why} *Mend:* {check.fix}."
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    write_text(Path(sys.argv[1]) / PAGE, contract_page())
