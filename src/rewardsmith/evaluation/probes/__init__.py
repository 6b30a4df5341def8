"""Bias probes: edit a good response, and see whether the reward follows the meaning or the surface.

In: rows with good responses, and a scorer. Out: `ProbesRecord`, a share, a shift and a verdict for each probe.

probe.py     what a probe is; edits are seeded by the texts alone; PROBES, from the addresses in `spec.evaluation`
surface.py   edits that keep the meaning: filler, headings, flattery, white space, longer synonyms …
meaning.py   edits that change or destroy it: cut off, wrong number, refusal …
language.py  sentences, paragraphs, prose, English, refusals
running.py   all probes, every distinct text scored once; shares, shifts, intervals; limits → PASS, FAIL, NO_DATA
policy.py    a user's own policy: sampled completions, their rewards, and what these mean
"""

from rewardsmith.evaluation.probes.policy import policy_record, read_policy_samples
from rewardsmith.evaluation.probes.probe import PROBES, Probe, Subject
from rewardsmith.evaluation.probes.running import gate_probes, run_probes

__all__ = ["PROBES", "Probe", "Subject", "gate_probes", "policy_record", "read_policy_samples", "run_probes"]
