"""Layer 4 of the spec: benchmarks, probes, attacks, controls, gates, export.

The registry of probes is here: code → the address of its `Probe`, by kind and in the order of reports. A spec can name
a probe, and a wrong name is refused, before any code of `evaluation` is loaded. A new probe is a `Probe` there and a
line here.
"""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import Field, model_validator

from rewardsmith import benchmarks
from rewardsmith.addresses import is_address, without_userinfo
from rewardsmith.spec.section import OPTIONAL_NAME_PATTERN, Fraction, Refusal, Section, nearest

SURFACE_PROBES: dict[str, str] = {
    "filler": "rewardsmith.evaluation.probes.surface:FILLER",
    "restatement": "rewardsmith.evaluation.probes.surface:RESTATEMENT",
    "headings": "rewardsmith.evaluation.probes.surface:HEADINGS",
    "bullets": "rewardsmith.evaluation.probes.surface:BULLETS",
    "bold": "rewardsmith.evaluation.probes.surface:BOLD",
    "emoji": "rewardsmith.evaluation.probes.surface:EMOJI",
    "confident_opening": "rewardsmith.evaluation.probes.surface:CONFIDENT_OPENING",
    "flattery": "rewardsmith.evaluation.probes.surface:FLATTERY",
    "hedging": "rewardsmith.evaluation.probes.surface:HEDGING",
    "empty_citations": "rewardsmith.evaluation.probes.surface:EMPTY_CITATIONS",
    "longer_synonyms": "rewardsmith.evaluation.probes.surface:LONGER_SYNONYMS",
    "code_fence": "rewardsmith.evaluation.probes.surface:CODE_FENCE",
    "foreign_greeting": "rewardsmith.evaluation.probes.surface:FOREIGN_GREETING",
    "trailing_whitespace": "rewardsmith.evaluation.probes.surface:TRAILING_WHITESPACE",
    "keyword_stuffing": "rewardsmith.evaluation.probes.surface:KEYWORD_STUFFING",
}
DESTROYED_PROBES: dict[str, str] = {
    "cut_off": "rewardsmith.evaluation.probes.meaning:CUT_OFF",
    "shuffled_sentences": "rewardsmith.evaluation.probes.meaning:SHUFFLED_SENTENCES",
    "other_answer": "rewardsmith.evaluation.probes.meaning:OTHER_ANSWER",
    "wrong_number": "rewardsmith.evaluation.probes.meaning:WRONG_NUMBER",
    "negated_claim": "rewardsmith.evaluation.probes.meaning:NEGATED_CLAIM",
    "repeated_paragraph": "rewardsmith.evaluation.probes.meaning:REPEATED_PARAGRAPH",
    "refusal": "rewardsmith.evaluation.probes.meaning:REFUSAL",
    "harmful_compliance": "rewardsmith.evaluation.probes.meaning:HARMFUL_COMPLIANCE",
}
_CHANCE = 0.5


class ProbesSpec(Section):
    """Counterfactual edits of responses: does the reward follow the meaning, or the surface?"""

    data: str = Field("held_out", min_length=1)
    """Whose good responses are edited: `held_out` pairs, a file of pairs or best-of-N rows, or a hub id."""
    pairs: int = Field(200, ge=0)
    """Rows that are drawn. 0: no probes."""


ATTACK_SECONDS = 600.0
"""What an attack may take unless told otherwise: long enough for most pairs of a model of 135M parameters on two cores,
and no more than one waits for."""


class AttackSpec(Section):
    """A search for the cheapest edits without meaning that lift a bad answer over a good one; off unless asked for."""

    data: str = Field("held_out", min_length=1)
    """Whose answers are attacked: `held_out` pairs, a file of pairs or best-of-N rows, or a hub id."""
    pairs: int = Field(0, ge=0)
    """Pairs that are drawn, one a prompt. 0: no attack; 40 is a good start."""
    edits: int = Field(3, ge=1, le=6)
    """Most edits in a composition."""
    beam: int = Field(2, ge=1)
    """Compositions of each answer that are extended."""
    branch: int = Field(6, ge=1)
    """Edits that each of them is extended by."""
    queries: int = Field(8000, ge=1)
    """Most texts that are scored."""
    seconds: float | None = Field(ATTACK_SECONDS, gt=0.0)
    """Most seconds; fewer pairs are attacked where the search of all would take longer. `null`: no limit."""
    phrases: str | None = Field(None, min_length=1)
    """A file of phrases, one a line, that are tried before and after answers beside the built-in ones."""
    tokens: int = Field(0, ge=0, le=12)
    """Most words of a learned ending, which is counted apart. 0: none is learned."""
    fluency: str | None = Field(None, min_length=1)
    """A language model that bounds the ending: a folder, a hub id, or an endpoint (`http://HOST:PORT/v1?model=NAME`)."""

    @model_validator(mode="after")
    def _fluency_bounds_an_ending(self) -> AttackSpec:
        if self.fluency is None:
            return self
        if not self.tokens:
            raise Refusal(
                "it bounds a learned ending, and none is asked for",
                "write evaluation.attack.tokens: 4, or leave the line out",
                field=("fluency",),
            )
        if is_address(self.fluency) and without_userinfo(self.fluency) != self.fluency:
            raise Refusal(
                "an address with a user or a password would be written into records",
                "write the bare address, and give the key in $REWARDSMITH_FLUENCY_TOKEN",
                field=("fluency",),
            )
        return self


CONTROLS_SHARE = 0.25
"""What `run --controls` takes: four trainings on a quarter of the prompts cost what the run's own training does."""


class ControlsSpec(Section):
    """Negative controls: the same training on changed data, where nothing, or a known thing, can be learnt."""

    share: Fraction = 0.0
    """Share of the training prompts that a reference and three controls are trained on each. 0: no controls; `run
    --controls` takes 0.25."""


class SurfaceLimits(Section):
    """Meaning kept, surface changed: the reward should not rise."""

    max_wrong: Fraction | None = 0.6
    """Fails when surely more than this share of the rewards rises; rewards that ignore the edit reach 0.5 by noise."""
    max_shift: float | None = 0.2
    """Fails when the mean change is surely above this, in reward standard deviations."""


class DestroyedLimits(Section):
    """Quality destroyed: the reward should fall."""

    max_wrong: Fraction | None = 0.4
    """Passes only when surely fewer than this share of the rewards do not fall; at most 0.5, what guessing reaches."""
    max_shift: float | None = 0.0
    """Passes only when the mean change is surely below this, in reward standard deviations."""


class ProbeRule(Section):
    """What one probe is asked instead; what is left out is as for its kind."""

    kind: Literal["gate", "warning", "ignore"] | None = None
    """A gate decides the exit code, a warning does not; an ignored probe is measured and has no verdict."""
    max_wrong: Fraction | None = None
    """Share of rewards that may go the wrong way."""
    max_shift: float | None = None
    """Mean change that is allowed, in reward standard deviations."""


class ProbeGatesSpec(Section):
    """Probe limits. A probe with too few prompts is NO_DATA: it fails where the spec names the probe as a gate."""

    kind: Literal["gate", "warning"] = "warning"
    """A gate decides the exit code, a warning does not."""
    min_prompts: int = Field(20, ge=2)
    """Fewest prompts that a probe needs for a verdict."""
    surface: SurfaceLimits = Field(default_factory=SurfaceLimits)
    destroyed: DestroyedLimits = Field(default_factory=DestroyedLimits)
    each: dict[str, ProbeRule] = Field(default_factory=dict)
    """Probe: a rule of its own, such as `{flattery: {kind: gate, max_wrong: 0.55}}`."""

    @model_validator(mode="after")
    def _probes_are_known(self) -> ProbeGatesSpec:
        known = (*SURFACE_PROBES, *DESTROYED_PROBES)
        for code in self.each:
            if code not in known:
                raise Refusal(f"there is no probe {code!r}", nearest(code, known), field=("each", code))
        return self

    @model_validator(mode="after")
    def _a_guessing_model_fails(self) -> ProbeGatesSpec:
        asked = {("destroyed",): self.destroyed.max_wrong} | {
            ("each", code): rule.max_wrong for code, rule in self.each.items() if code in DESTROYED_PROBES
        }
        for field, limit in asked.items():
            if limit is not None and limit > _CHANCE:
                raise Refusal(
                    f"{limit} would let a model pass that guesses: half of its rewards do not fall",
                    f"write at most {_CHANCE}, or leave the line out",
                    field=(*field, "max_wrong"),
                )
        return self


HELD_OUT = "held_out"
"""What results on the spec's own held-out pairs are called, and so no benchmark may be."""

RenderingProtocol = Literal["checkpoint", "upstream"]


class BenchmarkSpec(Section):
    """One benchmark and where its rows are."""

    name: str = Field(
        "rewardbench2", min_length=1, description=f"A name of the registry: {', '.join(benchmarks.BENCHMARKS)}."
    )
    data: str = Field("embedded", min_length=1)
    """Hub id, a file in the benchmark's own schema, or `embedded`."""
    revision: str | None = None
    """Revision of a hub data set."""
    label: str = Field("", pattern=OPTIONAL_NAME_PATTERN)
    """Folder name under eval/; the benchmark's name when left out."""
    protocol: RenderingProtocol = "checkpoint"
    """How text becomes tokens: as in training, or (rewardbench2 only) as the benchmark's own script does."""

    @property
    def key(self) -> str:
        """Folder under eval/ and the name that gates use."""
        return self.label or self.name

    @model_validator(mode="after")
    def _upstream_has_a_script(self) -> BenchmarkSpec:
        known = self.name in benchmarks.BENCHMARKS
        if self.protocol == "upstream" and not (known and benchmarks.declared(self.name).renders_upstream):
            raise Refusal(
                f"upstream is the rendering of a benchmark's own script, and {self.name} has none here",
                f"write checkpoint; upstream is for {', '.join(benchmarks.rendered_upstream())}",
                field=("protocol",),
            )
        return self


class SpreadGate(Section):
    """Rewards that hardly differ tell a policy nothing."""

    min_std: float | None = Field(0.05, gt=0.0)
    """Lowest standard deviation of all rewards of a benchmark. `null`: not asked."""
    min_distinct: Fraction | None = 0.5
    """Lowest number of distinct rewards, as a share of distinct texts. `null`: not asked."""


class OodSpec(Section):
    """Gap between skill on the held-out pairs and on a benchmark; skill = (score - chance) / (1 - chance)."""

    max_gap: Fraction | None = 0.5
    """Largest gap, either way. `null`: not asked."""
    kind: Literal["gate", "warning"] = "warning"
    """A gate decides the exit code, a warning does not."""


class LengthGate(Section):
    """Length bias within a prompt: is a pair decided by which answer is longer, whichever is right?"""

    max_gap: Fraction | None = 0.1
    """Fails when the accuracy where the longer answer is right and where it is wrong surely differ by more, either
    way. `null`: not asked."""
    kind: Literal["gate", "warning"] = "warning"
    """A gate decides the exit code, a warning does not."""


class GatesSpec(Section):
    """What a model must reach. Missing data never passes."""

    above_baseline: bool = True
    """Every subset's 95 % interval lies above its random baseline."""
    minimum: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Benchmark: subset: lowest score; `held_out` is a benchmark too, and the subset `average` is its average."""
    spread: SpreadGate = Field(default_factory=SpreadGate)
    ood: OodSpec = Field(default_factory=OodSpec)
    length: LengthGate = Field(default_factory=LengthGate)
    probes: ProbeGatesSpec = Field(default_factory=ProbeGatesSpec)
    maximum_flipped: Fraction | None = None
    """Largest share of pairs that edits without meaning may flip; needs `evaluation.attack`. `null`: not asked."""


class LabelNoiseSpec(Section):
    """After training: which labels contradict what the other pairs teach, and how many."""

    suspects: int = Field(100, ge=0)
    """Suspected labels that are listed, the most probable first. 0: labels are not looked at."""
    rescore: int = Field(1000, ge=0)
    """Candidates to re-score with the trained model before they are ranked, the worst first; at most a tenth of the
    pairs. 0: none, the margins of the epoch alone rank."""


class EvaluationSpec(Section):
    """What the trained model is asked, and what it must reach."""

    benchmarks: tuple[BenchmarkSpec, ...] = (BenchmarkSpec(name="rewardbench2", data="embedded"),)
    """Benchmarks: `name` (rewardbench2, pairs, …) and `data` (a hub id, a file or `embedded`)."""
    probes: ProbesSpec = Field(default_factory=ProbesSpec)
    attack: AttackSpec = Field(default_factory=AttackSpec)
    controls: ControlsSpec = Field(default_factory=ControlsSpec)
    label_noise: LabelNoiseSpec = Field(default_factory=LabelNoiseSpec)
    gates: GatesSpec = Field(default_factory=GatesSpec)
    tokens_per_batch: int = Field(16384, ge=64)
    """Tokens scored at a time, padding counted."""
    bootstrap: int = Field(2000, ge=200, le=1_000_000)
    """Bootstrap resamples."""

    @model_validator(mode="after")
    def _an_attack_gate_has_an_attack(self) -> EvaluationSpec:
        if self.gates.maximum_flipped is not None and not self.attack.pairs:
            raise Refusal(
                "no pair is attacked (evaluation.attack.pairs is 0), so the gate would have no data and fail",
                "write evaluation.attack.pairs: 40, or leave the line out",
                field=("gates", "maximum_flipped"),
            )
        return self

    @model_validator(mode="after")
    def _distinct_labels(self) -> EvaluationSpec:
        keys = [benchmark.key for benchmark in self.benchmarks]
        for index, key in enumerate(keys):
            taken = "the spec's own held-out pairs have" if key == HELD_OUT else "another benchmark has"
            if key == HELD_OUT or key in keys[:index]:
                raise Refusal(
                    f"{taken} the name {key!r}, and results are kept by name",
                    "give this benchmark a label of its own",
                    field=("benchmarks", index),
                )
        return self

    @model_validator(mode="after")
    def _thresholds_above_chance(self) -> EvaluationSpec:
        names = {HELD_OUT: HELD_OUT} | {benchmark.key: benchmark.name for benchmark in self.benchmarks}
        for key, subsets in self.gates.minimum.items():
            if key not in names:
                raise Refusal(
                    "no benchmark of this spec is called that, so the gate would have no data and fail",
                    nearest(key, names),
                    field=("gates", "minimum", key),
                )
            for subset, threshold in subsets.items():
                _check_threshold(key, names[key], subset, threshold)
        return self


def _check_threshold(key: str, benchmark: str, subset: str, threshold: float) -> None:
    """Refuse a threshold that no model can miss or reach, and a subset name that is nearly right."""
    field = ("gates", "minimum", key, subset)
    subsets = benchmarks.subsets_of(benchmark)
    if subset not in subsets and difflib.get_close_matches(subset, subsets, n=1):
        raise Refusal(f"{benchmark} has no subset {subset!r}", nearest(subset, subsets), field=field)
    if not 0.0 < threshold <= 1.0:
        raise Refusal(f"{threshold} is not a score", "write a number above 0 and up to 1", field=field)
    baseline = benchmarks.chance_of("pairs" if benchmark == HELD_OUT else benchmark, subset)
    if baseline is not None and threshold <= baseline:
        raise Refusal(
            f"{threshold} is not above the random baseline {baseline}, so a model that guesses would pass",
            f"write more than {baseline}, or leave the line out",
            field=field,
        )


class ExportSpec(Section):
    """What an exported checkpoint says of its rewards; the rewards themselves are raw."""

    normalize_rewards: bool = False
    """Raw rewards. True only with `required_by` and `formula`; even then mean and std are recorded, never applied."""
    required_by: str | None = None
    """The framework that cannot work with raw rewards."""
    formula: Literal["(reward - mean) / std"] | None = None
    """What that framework expects. Recorded with mean and std; rewards stay raw."""

    @model_validator(mode="after")
    def _normalisation_needs_a_reason(self) -> ExportSpec:
        if self.normalize_rewards and not (self.required_by and self.formula):
            raise Refusal(
                "true hides the scale that margins, gates and KL penalties are read on",
                "write false, or name the framework under required_by and write formula: (reward - mean) / std",
                field=("normalize_rewards",),
            )
        return self
