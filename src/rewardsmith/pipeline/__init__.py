"""The composition root: stages, fingerprints, resume; the one room that knows all others and hands them to each other.

job.py           run_job, check_job, sample_job, fix_job, train_job, evaluate_job
stages.py        the stages in order
context.py       what the stages of one job share
directory.py     the run directory: lock, owner, manifest
fingerprints.py  what a result depends on, hashed
resources.py     what the spec calls `embedded`
evaluating.py    one benchmark, one scorer
renderings.py    text as training renders it and as the benchmark's own script does
comparing.py     evaluations on disk, compared; row_texts.py finds the texts of their rows again
explaining.py    one conversation, token by token
variants.py      one more training of a run's spec: another seed, or a share of the data
replicas.py      `training.seeds`
learning_curve.py  `run --learning-curve`
label_noise.py   suspected labels, from the margins of the epoch
probing.py       bias probes, and rewards on a policy's own samples
scorers.py       a checkpoint to score with, its rewards cached
serving.py       models, tokens and limits of a server; engines.py: what it scores with
ensembles.py     models named on a command line, alone or combined
bulk.py          rewards of the rows of a file
verifying.py     the same rewards on every path; asking.py: a running server among them
exporting.py     checkpoints for other programs, and averages of checkpoints
events.py        what a watcher is told
"""

from rewardsmith.pipeline.comparing import compare_job
from rewardsmith.pipeline.events import Events, Silent
from rewardsmith.pipeline.explaining import explain_job
from rewardsmith.pipeline.job import Outcome, check_job, evaluate_job, fix_job, run_job, sample_job, train_job
from rewardsmith.pipeline.learning_curve import parse_fractions
from rewardsmith.pipeline.probing import policy_job, probe_job

__all__ = [
    "Events",
    "Outcome",
    "Silent",
    "check_job",
    "compare_job",
    "evaluate_job",
    "explain_job",
    "fix_job",
    "parse_fractions",
    "policy_job",
    "probe_job",
    "run_job",
    "sample_job",
    "train_job",
]
