"""The constraints of the method, each with what was verified in this run and how.

    checklist(records) → rule → its `Evidence`

A constraint is verified only by something that was recorded: a count, a file, a value in the resolved spec. "Not
verified" means that the record which would tell is not there. `_CONSTRAINTS` is the registry: adding one means one
function and one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rewardsmith.report.blocks import Block, Column, Grid, Section, Sign
from rewardsmith.report.formatting import State, count, parameters, plural, short_hash, significant, size, visible
from rewardsmith.report.reading import RunRecords
from rewardsmith.report.sections.data import counts_hold, counts_in_words

BY_TYPE = "the spec has no other value"
BY_COUNT = "counted on the data"
BY_RECORD = "compared in the records"
BY_FILES = "read from the files"
MISSING_RECORD = "no record"

LEAKED = "leaked_prompt"
"""The check that compares held-out prompts with those that are trained on."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Whether a constraint holds, what was found, and how that is known."""

    state: State
    found: str
    how: str

    @property
    def word(self) -> str:
        """The state in words."""
        return {"good": "verified", "bad": "violated", "warn": "to read", "open": "not verified"}[self.state]


def constraints_section(records: RunRecords) -> Section:
    """The checklist as a table."""
    columns = (
        Column("Constraint", "name"),
        Column("Verdict", "badge"),
        Column("Found", "words"),
        Column("How", "words"),
    )
    rows = tuple(
        (
            visible(rule, 200),
            Sign(evidence.state, evidence.word),
            visible(evidence.found, 400),
            visible(evidence.how, 400),
        )
        for rule, evidence in checklist(records).items()
    )
    caption = "Constraints with what was verified and how"
    return Section(
        "constraints",
        "Constraints",
        (Block("", grids=(Grid(caption, columns, rows, titled=False, look="plain"),)),),
        lead="The rules of the method, each with what was found in this run and how it is known.",
    )


def checklist(records: RunRecords) -> dict[str, Evidence]:
    """All constraints, in the order of the layers."""
    return {rule: verify(records) for rule, verify in _CONSTRAINTS.items()}


def _unknown(what: str) -> Evidence:
    return Evidence("open", f"{what} has not run", MISSING_RECORD)


def _held(holds: bool, found: str, how: str) -> Evidence:
    return Evidence("good" if holds else "bad", found, how)


def _every_row_counted(records: RunRecords) -> Evidence:
    check = records.check
    if not check:
        return _unknown("check")
    return _held(counts_hold(check), counts_in_words(check), BY_COUNT)


def _over_length(records: RunRecords) -> Evidence:
    check = records.check
    if not check:
        return _unknown("check")
    rendering = check.rendering
    longest = check.tokens.quantiles.get("max", 0)
    cut = plural(check.tokens.truncated, "pair") + " cut"
    found = f"{rendering.over_length} over {rendering.max_length:,} tokens; longest kept {longest:,.0f}; {cut}"
    return _held(longest <= rendering.max_length, found, BY_COUNT)


def _eos_last(records: RunRecords) -> Evidence:
    check = records.check
    if not check or not check.tokens.texts:
        return _unknown("check")
    rendering, last = check.rendering, check.tokens.last_tokens
    at_end = last.get(rendering.eos_token, 0) or last.get(str(rendering.eos_token_id), 0)
    token = f"{visible(rendering.eos_token, 40)} (id {rendering.eos_token_id})"
    return _held(
        at_end == check.tokens.texts, f"{at_end:,} of {plural(check.tokens.texts, 'text')} end in {token}", BY_COUNT
    )


def _pad_differs(records: RunRecords) -> Evidence:
    if not records.check:
        return _unknown("check")
    rendering = records.check.rendering
    added = ", added here" if rendering.added_pad_token else ""
    found = (
        f"pad {visible(rendering.pad_token, 40)} (id {rendering.pad_token_id}{added}), "
        f"EOS {visible(rendering.eos_token, 40)} (id {rendering.eos_token_id})"
    )
    return _held(rendering.pad_token_id != rendering.eos_token_id, found, BY_RECORD)


def _right_padding(records: RunRecords) -> Evidence:
    if not records.check:
        return _unknown("check")
    rendering = records.check.rendering
    found = f"padding {rendering.padding_side}; reward read at the {visible(rendering.pooling, 80)}"
    return _held(rendering.padding_side == "right", found, BY_RECORD)


def _held_out_apart(records: RunRecords) -> Evidence:
    check = records.check
    if not check:
        return _unknown("check")
    if not check.held_out_pairs:
        return Evidence("warn", "no pair is held out", BY_COUNT)
    leaked = sum(finding.count for finding in check.findings if finding.code == LEAKED)
    pairs = plural(check.held_out_pairs, "pair")
    found = f"{leaked:,} of {pairs} share a prompt with training; held out: {visible(check.held_out_origin, 120)}"
    return _held(leaked == 0, found, BY_COUNT)


def _same_data(records: RunRecords) -> Evidence:
    check, train = records.check, records.train
    if not check or not train:
        return _unknown("train" if check else "check")
    found = f"check passed on {short_hash(check.data_fingerprint)}, trained on {short_hash(train.data_fingerprint)}"
    return _held(check.passed and check.data_fingerprint == train.data_fingerprint, found, BY_RECORD)


def _one_epoch(records: RunRecords) -> Evidence:
    train = records.train
    if not train:
        return _unknown("train")
    steps = f"{plural(train.steps, 'step')}, {plural(train.pairs, 'pair')}"
    if not records.check:
        return Evidence("good", steps, BY_TYPE)
    return _held(train.pairs <= records.check.train_pairs, f"{steps} of {count(records.check.train_pairs)}", BY_COUNT)


def _loss(records: RunRecords) -> Evidence:
    if not records.spec:
        return _unknown("spec")
    found = "−log σ(chosen reward − rejected reward), mean over pairs"
    if records.train:
        found += f"; first step {significant(records.train.first_loss)}, a guess costs ln 2 = {math.log(2):.3f}"
    return Evidence("good", found, BY_TYPE)


def _target_margin(records: RunRecords) -> Evidence:
    if not records.spec:
        return _unknown("spec")
    return Evidence("good", "the loss takes two rewards and nothing else; the column is kept for analysis", BY_TYPE)


def _sizes(records: RunRecords) -> Evidence:
    train = records.train
    if not train:
        return _unknown("train")
    if train.policy_parameters is None:
        return Evidence("open", f"base {parameters(train.base_parameters)}, no policy stated", "nothing to compare")
    found = f"base {parameters(train.base_parameters)}, policy {parameters(train.policy_parameters)}"
    return _held(train.base_parameters <= train.policy_parameters, found, BY_RECORD)


def _no_remote_code(records: RunRecords) -> Evidence:
    if not records.spec:
        return _unknown("spec")
    return _held(not records.spec.base_model.trust_remote_code, "trust_remote_code: false", BY_TYPE)


def _raw_rewards(records: RunRecords) -> Evidence:
    if not records.spec:
        return _unknown("spec")
    export = records.spec.export
    if export.normalize_rewards:
        why = visible(export.required_by or "", 80)
        return Evidence("warn", f"mean and std recorded for {why}, not applied to rewards", "read from the spec")
    return Evidence("good", "normalize_rewards: false", "read from the spec")


def _reward_range(records: RunRecords) -> Evidence:
    train = records.train
    if not train:
        return _unknown("train")
    if train.reward_range is None:
        return Evidence("open", "the spec states no range", "nothing to compare")
    low, high = (significant(bound).text for bound in train.reward_range)
    found = f"{plural(train.outside_reward_range, 'step')} outside {low} to {high}"
    return Evidence("warn" if train.outside_reward_range else "good", found, "counted in training")


def _safetensors(records: RunRecords) -> Evidence:
    weights = {name: number for name, number in records.files.items() if name.endswith(".safetensors")}
    pickles = [name for name in records.files if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    if not weights and not pickles:
        return Evidence("open", "no checkpoint in model/", MISSING_RECORD)
    found = f"{plural(len(weights), 'safetensors file')}, {size(sum(weights.values()))}"
    if pickles:
        found += f"; pickled: {', '.join(visible(name, 60) for name in pickles[:3])}"
    return _held(bool(weights) and not pickles, found, BY_FILES)


def _nothing_missing(records: RunRecords) -> Evidence:
    if not records.benchmarks:
        return _unknown("evaluate")
    subsets = [subset for result in records.benchmarks.values() for subset in result.subsets.values()]
    rewards = sum(result.rewards.n for result in records.benchmarks.values())
    missing = sum(subset.n_missing for subset in subsets)
    return _held(missing == 0, f"{plural(rewards, 'reward')}, {missing:,} missing", BY_COUNT)


def _gates_above_chance(records: RunRecords) -> Evidence:
    """Every threshold of the spec against the random baseline that evaluation measured on the same rows."""
    if not records.spec:
        return _unknown("spec")
    gates = records.spec.evaluation.gates
    known = [
        (threshold, _baseline(records, key, subset))
        for key, subsets in gates.minimum.items()
        for subset, threshold in subsets.items()
    ]
    under = sum(baseline is not None and threshold <= baseline for threshold, baseline in known)
    rule = "every interval above its baseline is asked" if gates.above_baseline else "no interval is asked for"
    found = f"{rule}; {plural(len(known), 'minimum', 'minimums')} stated, {under} at or under chance"
    if under:
        return Evidence("bad", found, BY_RECORD)
    if any(baseline is None for _, baseline in known):
        return Evidence("open", found, "some baselines are not measured yet")
    return Evidence("good" if gates.above_baseline or known else "warn", found, BY_RECORD)


def _baseline(records: RunRecords, key: str, subset: str) -> float | None:
    result = records.benchmarks.get(key)
    if result is None:
        return None
    return result.subsets[subset].baseline if subset in result.subsets else result.average_baseline


_CONSTRAINTS: dict[str, Callable[[RunRecords], Evidence]] = {
    "Every row is counted": _every_row_counted,
    "Over-length policy is explicit": _over_length,
    "EOS is the last token": _eos_last,
    "Pad differs from EOS": _pad_differs,
    "Padding on the right": _right_padding,
    "Held-out pairs are not trained on": _held_out_apart,
    "Trained on the data that passed": _same_data,
    "Base no larger than the policy": _sizes,
    "No remote code": _no_remote_code,
    "One epoch": _one_epoch,
    "Bradley-Terry loss": _loss,
    "target_margin never reaches the loss": _target_margin,
    "Rewards stay in their range": _reward_range,
    "No normalisation": _raw_rewards,
    "Weights are safetensors": _safetensors,
    "Every response has a reward": _nothing_missing,
    "Gates lie above the random baseline": _gates_above_chance,
}
