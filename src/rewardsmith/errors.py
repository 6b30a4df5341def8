"""Every failure that Rewardsmith raises on purpose, as one tree.

    RewardsmithError                what went wrong, where, and what to write instead
    ├── UserError                   exit 2: the spec, the data or the arguments cannot be used
    │   ├── SpecError               a field of the spec
    │   ├── DataError               a file, a row, a column
    │   ├── RenderingError          a tokenizer, a chat template, a special token
    │   ├── ModelError              a base model, a checkpoint, a device
    │   ├── BenchmarkError          benchmark rows or offline rewards
    │   └── RunDirectoryError       a run directory that is taken, locked or not writable
    └── NegativeVerdict             exit 1: the work was done and the answer is no
        ├── FindingsError           a finding that the spec lists under `fail_on`
        └── MarginStop              the margin monitor stopped training

The command line turns each into one short message and the exit code. Anything else that is raised is a programming
mistake: exit 70, with the traceback in a file.
Every message says where it happened (file, row, field), what was found there, and how to fix it.
"""


class RewardsmithError(Exception):
    """A failure with its place and its fix.

    Args:
        problem: what is wrong, with the value that was found.
        where: file, row or field, most general first (`"pairs.jsonl:12, field 'chosen'"`).
        fix: what to write or run instead.
    """

    exit_code = 2

    def __init__(self, problem: str, *, where: str = "", fix: str = "") -> None:
        self.problem = problem
        self.where = where
        self.fix = fix
        text = f"{where}: {problem}" if where else problem
        super().__init__(f"{text}\n  try: {fix}" if fix else text)


class UserError(RewardsmithError):
    """The spec, the data or the arguments cannot be used."""


class SpecError(UserError):
    """A field of the spec is unknown, missing or not allowed."""


class DataError(UserError):
    """A data file cannot be read or a row cannot be used."""


class RenderingError(UserError):
    """Text cannot be turned into the tokens that a reward model needs."""


class ModelError(UserError):
    """A base model or a checkpoint cannot be used."""


class BenchmarkError(UserError):
    """Benchmark rows or rewards computed elsewhere do not fit the benchmark."""


class RunDirectoryError(UserError):
    """The run directory belongs to another spec, is locked or cannot be written."""


class NegativeVerdict(RewardsmithError):  # noqa: N818 - a verdict, not a fault
    """The work was done; the answer is no. Everything made so far is kept."""

    exit_code = 1


class FindingsError(NegativeVerdict):
    """A finding of the data contract that the spec does not tolerate."""


class MarginStop(NegativeVerdict):
    """The margin monitor stopped training."""


def first_line(error: BaseException) -> str:
    """What a library says, in a line; the kind of error where it says nothing. After a colon the next line belongs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return (" ".join(lines[:2]) if lines[0].endswith(":") else lines[0])[:300]
