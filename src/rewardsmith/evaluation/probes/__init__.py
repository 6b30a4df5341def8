"""Bias probes: edit a good response, and see whether the reward follows the meaning or the surface.

In: rows with good responses, and a scorer. Out: `ProbesRecord`, a share, a shift and a verdict for each probe.

contract.py           what a probe is; edits are seeded by the texts alone
registry.py           PROBES
language.py           sentences, paragraphs, prose, English, refusals
additions.py          surface: filler, restatement, empty citations, keyword stuffing
markup.py             surface: headings, bullets, bold, emoji, code fence, white space
openings.py           surface: confidence, flattery, hedging, a foreign greeting
wording.py            surface: longer synonyms
damage.py             destroyed: cut off, shuffled, repeated
falsehood.py          destroyed: wrong number, negated claim
replacement.py        destroyed: another prompt's answer, refusal, harmful compliance
subjects.py           rows → the responses that are edited
runner.py             all probes, every distinct text scored once
measure.py            one probe: share, shift, intervals, worst examples
verdicts.py           limits → PASS, FAIL, NO_DATA
policy_samples.py     a user's own policy: file of sampled completions → rows
policy_statistics.py  its rewards: variance within prompts, flat prompts, accuracy, gain of best-of-N
policy_words.py       what they mean
"""

from rewardsmith.evaluation.probes.policy import policy_record, read_policy_samples
from rewardsmith.evaluation.probes.probe import Probe, Subject
from rewardsmith.evaluation.probes.registry import PROBES
from rewardsmith.evaluation.probes.running import gate_probes, run_probes

__all__ = ["PROBES", "Probe", "Subject", "gate_probes", "policy_record", "read_policy_samples", "run_probes"]
