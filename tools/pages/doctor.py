"""docs/doctor.md, from rules.toml and the checks of checkpoints: every rule with its versions, fix and source."""

from __future__ import annotations

import textwrap

from rewardsmith.doctor.rules import Rule, RuleBook, load_rules

_WIDTH = 120
_HEAD = """# The doctor

`rewardsmith doctor` says what of an environment, of scripts and of checkpoints does not work (any more), why, since
which version, and what to write instead. It imports nothing of the stack and reads no weights.

```bash
rewardsmith doctor                                             # installed versions, and what of them conflicts
rewardsmith doctor scripts/ train.ipynb                        # scripts, judged by the installed versions
rewardsmith doctor train.py --against trl==1.16                # judged by another version: before an upgrade
rewardsmith doctor rm.sh --python /opt/openrlhf/bin/python     # another environment, by its interpreter
rewardsmith doctor scripts/ --fix                              # shows a diff and asks; --yes does not ask
rewardsmith doctor runs/helpful/model                          # the known faults of a checkpoint, from its files
rewardsmith doctor scripts/ --json                             # the record, for another program
```

It ends with 0, with 1 where a finding is an error, and with 2 where nothing that was named can be read. Files that
cannot be read or parsed are listed with their reason and stop nothing. What is a warning still works, in the version
judged.

## What is read

- **Python.** Names are followed from their import: aliases, `import trl as t`, attributes, instances, subclasses,
  annotated parameters, what a `TrlParser` parses. Keyword arguments count for known callables only, keys only where the
  dictionary is what a collator takes or gives. Strings, comments, names of the same spelling from elsewhere, and
  imports that a `try` guards with `except ImportError` give no finding. What cannot be followed (an unannotated
  parameter, `**settings`) gives none either.
- **Shell** (`.sh`, `.bash`, `.slurm`, `.sbatch`, or a `#!` line). Commands with their line continuations,
  here-documents (as OpenRLHF's examples have them), arrays and strings of flags in variables. A flag is judged only
  behind its program.
- **YAML.** Configurations of TRL, accelerate, verl and vLLM, told by their own keys; and commands inside any YAML.
- **Notebooks.** Code cells as Python, `!` lines and `%%bash` cells as shell; findings name cell and line.
- **Checkpoint folders.** `config.json`, tokenizer files, template, adapter, and the headers of safetensors files.

`--fix` replaces the spans of names and leaves everything else: layout, comments, permissions. A name that is called
otherwise now keeps its old name in the file (`import New as Old`). Of a checkpoint it rewrites `config.json` and
`tokenizer_config.json`, never weights. A notebook keeps the layout of its JSON, or is left
alone. What has no mechanical fix is only reported.

A package that is not installed is judged by the newest version that the rules know:
{newest}.

## How the rules were checked

Each range was compared with released wheels: the old name is there in the last version before the range, and not in the
first version of it. [doctor_wheels.md](../bench/results/doctor_wheels.md) has the comparison, and what is found in the
scripts of two released wheels.
"""
_VERSIONS = """
## Versions that do not go together

Every package is held to the requirements in its own metadata (`unmet-requirement`; a package that is not installed at
all is a warning). Beyond those:

"""
_CHECKPOINTS = """
## Checkpoints

- **checkpoint-adapter-head** (error). A LoRA adapter without the reward head. Loaded, it gives random rewards. peft
  saves the head only with `task_type="SEQ_CLS"` or `modules_to_save=["score"]`.
- **checkpoint-head-missing** (error). A sequence classifier whose weights have no head.
- **checkpoint-not-finite** (error). Weights of NaN or infinity, with the names of tensors and file: every reward would
  be NaN, and other programs load them without a word. The files are read for it, a second for each gigabyte or two.
- **checkpoint-pad** (error). `config.json` has no pad token, or EOS for it: transformers reads the reward at the last
  token that is not pad, which is then one too early.
- **checkpoint-pad-is-eos** (error). The same in the tokenizer.
- **checkpoint-num-labels** (error; a warning on OpenRLHF's checkpoints, which never say it and load with
  `num_labels=1`). The head would have another size.
- **checkpoint-problem-type** (warning). Without `problem_type: "regression"` vLLM and `pipeline` apply a sigmoid.
- **checkpoint-vocabulary** (error). The tokenizer has ids that the embedding lacks.
- **checkpoint-template-eos** (warning). A full conversation does not end with EOS, so that the reward is read at
  another token (ChatML's newline).
- **checkpoint-rope-spelling** (error on a reward model, else a warning; `--fix`). `config.json` says the rotary
  positions only as `rope_parameters`, which transformers 4 does not know: it takes its default theta and no scaling,
  and gives other rewards. What it would read is named. `--fix` writes the old names beside it, and both agree.
- **checkpoint-rope-differs** (error). Both spellings are there and say different things.
- **checkpoint-tokenizer-spelling** (warning; `--fix`). `tokenizer_config.json` names the class `TokenizersBackend` or a
  list of `extra_special_tokens`: `AutoTokenizer` of transformers 4 ends with an error.
- **checkpoint-base-weights** (error; a note where the base is not at hand). Of checkpoints of Rewardsmith 0.1.0, which
  drew weights of the base that did not load at random without a word: by name, weights that its base does not have.
- **checkpoint-float16** (warning). Of checkpoints of Rewardsmith 0.1.0, which trained a float16 base in float16 under
  `dtype: auto`.
- **checkpoint-remote-code** (note). The model brings code of its own, which OpenRLHF always runs.
- **checkpoint-weights** (error; a warning where only a wrapper's prefix is in the names). A weight that the model needs
  is not in the files, one in the files has no place or another shape, or a file is cut off: names and shapes are
  tried on the configuration by transformers itself, so this check takes some seconds.
- **checkpoint-unreadable** (warning). A file of the folder is broken.

`rewardsmith verify` loads the model and compares its rewards on every path.
"""


def doctor_page() -> str:
    """The page: how it reads, every rule by package, combinations of versions, faults of checkpoints."""
    book = load_rules()
    newest = ", ".join(f"{name} {version}" for name, version in book.newest.items())
    parts = [_HEAD.replace("{newest}", newest)]
    parts += [_rules(book, package) for package in dict.fromkeys(rule.package for rule in book.rules)]
    combined = [
        _wrapped(f"- **{one.id}** ({one.severity}). {one.what}. *Fix:* {one.fix}. [source]({one.source})")
        for one in book.combinations
    ]
    return "".join([*parts, _VERSIONS, "\n".join(combined), "\n", _CHECKPOINTS])


def _rules(book: RuleBook, package: str) -> str:
    entries = [_entry(rule) for rule in book.rules if rule.package == package]
    return f"\n## {package}\n\n" + "\n".join(entries) + "\n"


def _entry(rule: Rule) -> str:
    fixable = ", `--fix`" if rule.fixable else ""
    said = f"- **{rule.id}** ({_range(rule)}{fixable}). {rule.what}. *Fix:* {rule.fix}. [source]({rule.source})"
    return _wrapped(said)


def _range(rule: Rule) -> str:
    """The versions in words, with the grade of the first."""
    parts = [f"warning from {rule.deprecated}"] if rule.deprecated else []
    if rule.since:
        parts.append(f"{rule.severity} from {rule.since}")
    elif not rule.deprecated:
        parts.append(rule.severity)
    return ", ".join(parts) + (f", before {rule.until}" if rule.until else "")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
