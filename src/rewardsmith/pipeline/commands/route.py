"""The jobs of the router: the spec's rules and settings, the reward model with its doubt, a replay, a server's router.

    model = open_route_model(spec, ("runs/x/model",), LoadOptions(), None, events.note)
    standings = model.standings(rows)                        # rewards of each row's responses, and what doubt needs
    standings[0].opinion(0, 1, model.temperature)            # margin, probability, spread
    rules = fitted_rules(spec.routing, record)               # the spec's, with the limit of a calibration
    record = replay_job(audit, spec, calibration)            # `rewardsmith route replay`
    router = serving_router(ServedRouting(Path("spec.yaml")), {"helpful": info}, False, note)

`calibrate_route.py` fits the limit, `run_route.py` decides about the rows of a file. `serving_router` is what
`rewardsmith serve --route SPEC` hands to `POST /v1/compare`; what a request could not be answered by is refused when
the server starts: a rule without a limit, margins without a calibration, doubt that nothing states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardsmith.errors import ModelError, SpecError
from rewardsmith.evaluation.results import why_missing
from rewardsmith.judging import load_prompts
from rewardsmith.modeling.inference import head_features
from rewardsmith.modeling.reward_head import find_head_owner
from rewardsmith.pipeline.commands.judge import build_judge
from rewardsmith.pipeline.directory import ROUTING, checkpoint_folder
from rewardsmith.pipeline.scorers import LoadOptions, model_folders, open_member, settled
from rewardsmith.protocols import Scorer
from rewardsmith.records.evaluation import reason_code
from rewardsmith.records.files import read_record
from rewardsmith.records.routing import AuditHeader, ReplayRecord, RoutingRecord
from rewardsmith.routing import AuditLog, BudgetLimits, HybridRouter, RouterSettings, Rule, Rules, replay
from rewardsmith.routing.audit import header_of
from rewardsmith.routing.rules import Posterior, opinion, rewarded
from rewardsmith.scoring import Combination, EnsembleScorer, LocalScorer
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.spec import IntervalRule, RoutingSpec, Spec, SubsetRule, load_spec
from rewardsmith.types import Conversation, Opinion

Floats = NDArray[np.float64]
CHUNK = 2048
"""Conversations that are scored together."""


@dataclass(slots=True)
class RouteModel:
    """The reward model, or an ensemble, and what states its doubt.

    `temperatures` are of subsets that have their own. `calibration` says where the temperature comes from, `doubt` is
    "ensemble", "laplace" or "". The posterior of `laplace` is set once it is fitted or read. `rewards` counts what it
    gave, `missing` what it could not, by reason."""

    name: str
    identity: str
    scorer: Scorer
    temperature: float | None
    interval: tuple[float, float] | None
    calibration: str
    conversational: bool
    doubt: str = ""
    temperatures: Mapping[str, float] = field(default_factory=dict)
    posterior: Posterior | None = None
    rewards: int = 0
    missing: Counter[str] = field(default_factory=Counter)

    def temperature_of(self, subset: str) -> float | None:
        """The temperature of a row: its subset's own, else that of all rows."""
        return self.temperatures.get(subset, self.temperature)

    def standings(self, rows: Sequence[Sequence[Conversation]]) -> list[Standing]:
        """What the model says of each row's responses; rewards are NaN where a text cannot be scored."""
        every = [conversation for row in rows for conversation in row]
        rewards, members, features = np.full(len(every), np.nan), np.empty((0, len(every))), None
        if isinstance(self.scorer, EnsembleScorer):
            found = self.scorer.score_members(every)
            rewards, members = found.rewards, np.stack(list(found.members.values()))
        elif self.doubt == "laplace":
            features, rewards = self.features(every)
        elif every:
            rewards = np.asarray(self.scorer.score(every), dtype=np.float64)
        absent = [text for text, reward in zip(every, rewards, strict=True) if not np.isfinite(reward)]
        reasons = why_missing(absent, self.scorer)
        self.missing.update(reason_code(reasons[text]) for text in absent)
        self.rewards += len(every) - len(absent)
        made, start = [], 0
        for row in rows:
            own = slice(start, start + len(row))
            start += len(row)
            made.append(self._standing(rewards[own], members[:, own], None if features is None else features[own]))
        return made

    def _standing(self, rewards_N: Floats, members_KN: Floats, features_ND: NDArray[np.float32] | None) -> Standing:
        if features_ND is None or self.posterior is None:
            return Standing(rewards_N, members_KN)
        if len(rewards_N) != 2:
            return Standing(rewards_N, members_KN, features_ND, None, self.posterior)
        spread = float(self.posterior.spread((features_ND[0] - features_ND[1])[None])[0])
        return Standing(rewards_N, members_KN, spread=spread)

    def features(self, conversations: Sequence[Conversation]) -> tuple[NDArray[np.float32], Floats]:
        """What the head reads of each conversation (N, D), and the rewards; NaN where a text has no rendering.

        Raises:
            ModelError: the model is remote, or has no linear head.
        """
        scorer = _with_a_head(self.scorer)
        rendered = scorer.render(conversations)
        usable = [(place, one.ids) for place, one in enumerate(rendered) if one.ids is not None]
        found_ND, found_N = head_features(
            scorer.checkpoint.model, [ids for _, ids in usable], scorer.layout, scorer.token_budget
        )
        features = np.zeros((len(conversations), found_ND.shape[1]), dtype=np.float32)
        rewards = np.full(len(conversations), np.nan)
        places = [place for place, _ in usable]
        features[places], rewards[places] = found_ND, found_N
        return features, rewards

    def head(self) -> Floats:
        """The weights of the reward head (D,). Raises as `features`."""
        head = find_head_owner(_with_a_head(self.scorer).checkpoint.model).score
        weight: Floats = np.asarray(head.weight.detach().float().cpu().numpy(), dtype=np.float64)
        return weight.reshape(-1)


def _with_a_head(scorer: Scorer) -> LocalScorer:
    if not isinstance(scorer, LocalScorer):
        raise ModelError(
            "a Laplace approximation needs the weights of one model in this process",
            where="routing.rules",
            fix="name one checkpoint folder, or several models as an ensemble",
        )
    return scorer


@dataclass(frozen=True, slots=True)
class Standing:
    """What the model says of one row's responses: rewards (N,), members' (K, N), features (N, D) for Laplace.

    Of a row of two, the `spread` of the margin is worked out at once and the features are let go.
    """

    rewards: Floats
    members: Floats
    features: NDArray[np.float32] | None = None
    spread: float | None = None
    posterior: Posterior | None = None

    def opinion(self, first: int, second: int, temperature: float | None) -> Opinion:
        """What it says of two of the responses."""
        sides = [
            rewarded(float(self.rewards[place]) if np.isfinite(self.rewards[place]) else None, self._members(place))
            for place in (first, second)
        ]
        found = opinion(sides[0], sides[1], temperature)
        spread = self._laplace(first, second)
        return found if spread is None or found.margin is None else Opinion(found.margin, found.probability, spread)

    def _members(self, place: int) -> list[float | None]:
        return [float(one) if np.isfinite(one) else None for one in self.members[:, place]]

    def _laplace(self, first: int, second: int) -> float | None:
        if self.posterior is None or self.features is None:
            return self.spread
        return float(self.posterior.spread((self.features[first] - self.features[second])[None])[0])


def open_route_model(
    spec: Spec, models: Sequence[str], load: LoadOptions, combination: Combination | None, note: Callable[[str], None]
) -> RouteModel:
    """The reward model that routes; several are an ensemble (`combination`, their mean where it is None).

    Raises:
        ModelError: a model cannot be used, or cannot state the doubt that the rules ask for.
    """
    opened = [open_member(name, source, load) for name, source in model_folders(models).items()]
    doubt = _doubt(spec.routing, len(opened))
    conversational = all(info.conversational for _, info in opened)
    identity = "+".join(info.identity for _, info in opened)
    name = "+".join(models)
    if len(opened) == 1:
        member, info = opened[0]
        if doubt == "laplace":
            _with_a_head(member.scorer)
        interval = _interval(member.scorer)
        where = "rewardsmith.json" if info.temperature is not None else ""
        return RouteModel(name, identity, member.scorer, info.temperature, interval, where, conversational, doubt)
    members = [member for member, _ in opened]
    scales = {member.name: member.scale for member in members}
    whole = settled(combination or Combination(), scales, False, note)
    return RouteModel(name, identity, EnsembleScorer(members, whole), None, None, "", conversational, doubt)


def _doubt(spec: RoutingSpec, models: int) -> str:
    """What states the model's doubt, "" where no rule asks."""
    wanted = next((rule.doubt for rule in spec.rules if isinstance(rule, IntervalRule)), None)
    if wanted is None:
        return ""
    found = ("ensemble" if models > 1 else "laplace") if wanted == "auto" else wanted
    if (found == "ensemble") != (models > 1):
        raise ModelError(
            f"the rule interval takes its doubt from {found}, and the number of models is {models}",
            where="routing.rules",
            fix="name several models with --model, or write doubt: laplace" if models == 1 else "write doubt: ensemble",
        )
    return found


def _interval(scorer: Scorer) -> tuple[float, float] | None:
    """The interval of the checkpoint's temperature, where its record has one."""
    record = scorer.checkpoint.record if isinstance(scorer, LocalScorer) else None
    calibration = (record.calibration if record else None) or {}
    low, high = calibration.get("temperature_low"), calibration.get("temperature_high")
    return None if low is None or high is None else (low, high)


def rules_of(spec: RoutingSpec) -> Rules:
    """The rules of the spec."""
    made = []
    for rule in spec.rules:
        if isinstance(rule, SubsetRule):
            made.append(Rule("subset", None, frozenset(rule.subsets), rule.outside))
        else:
            made.append(Rule(rule.kind, rule.below))
    return Rules(tuple(made), spec.combine)


def fitted_rules(spec: RoutingSpec, record: RoutingRecord | None) -> Rules:
    """The rules with every limit: the one that the spec leaves out is that of the calibration.

    Raises:
        SpecError: it is nowhere, or the calibration is of other rules.
    """
    rules = rules_of(spec)
    if rules.free is None:
        return rules
    kind = rules.rules[rules.free].kind
    if record is None:
        raise SpecError(
            f"the rule {kind} has no limit, and there is no calibration",
            where="routing.rules",
            fix="run `rewardsmith route calibrate` and give its routing.json with --calibration, or write `below`",
        )
    found = [one for one in record.rules if one.kind == kind]
    if not _same_rules(rules, record) or found[0].below is None:
        raise SpecError(
            f"the calibration is of the rules {', '.join(one.kind for one in record.rules)} ({record.combine})",
            where="routing.rules",
            fix="run `rewardsmith route calibrate` again with these rules",
        )
    return rules.with_limit(found[0].below)


def _same_rules(rules: Rules, record: RoutingRecord) -> bool:
    """Whether a calibration is of these rules; the limit that it fitted does not count."""
    if rules.combine != record.combine or len(rules.rules) != len(record.rules):
        return False
    free = rules.free
    return all(
        (rule.kind, rule.subsets, rule.outside) == (one.kind, frozenset(one.subsets), one.outside)
        and (place == free or rule.below == one.below)
        for place, (rule, one) in enumerate(zip(rules.rules, record.rules, strict=True))
    )


def settings_of(spec: Spec, *, share: float | None) -> RouterSettings:
    """Limits of the spec, with the share of a stream (None: none, or the job plans it itself)."""
    routing, judge = spec.routing, spec.judge
    budget = routing.budget
    calls = judge.samples * (2 if judge.orders == "both" else 1)
    return RouterSettings(
        concurrency=routing.concurrency,
        seconds=routing.seconds,
        failures=routing.breaker.failures,
        rest_seconds=routing.breaker.rest,
        limits=BudgetLimits(share, budget.calls_per_minute, budget.cost, calls),
    )


RECORD_FILE = "routing.json"
VERDICTS_FILE = "verdicts.jsonl"
JUDGE_FOLDER = "judge"


def log_header(spec: Spec, rules: Rules, identity: str, *, use_judge: bool = True) -> AuditHeader:
    """What stands before the decisions of a router of this spec; `identity` is that of its reward model."""
    return header_of(
        rules,
        model=identity,
        judge=spec.judge.model if use_judge else "",
        prompts=load_prompts(spec.judge.prompts)["pairwise"].sha256,
        currency=spec.judge.prices.currency if spec.judge.prices.known else "",
    )


def routing_folder(spec: Spec) -> Path:
    """Where the calibration of a spec's run lies."""
    return checkpoint_folder(spec).parent / ROUTING


def read_calibration(path: Path) -> RoutingRecord:
    """A `routing.json`, or the one in a folder.

    Raises:
        RunDirectoryError: it cannot be read.
    """
    return read_record(path / RECORD_FILE if path.is_dir() else path, RoutingRecord)


def replay_job(audit: Path, spec: Spec | None, calibration: Path | None) -> ReplayRecord:
    """Make every decision of a log again, by its own rules or by those of a spec.

    Raises:
        UserError: log, rules or calibration cannot be used.
    """
    rules = None
    if spec is not None:
        rules = fitted_rules(spec.routing, read_calibration(calibration) if calibration else None)
    return replay(audit, rules)


@dataclass(frozen=True, slots=True)
class ServedRouting:
    """What `serve` was told of routing: the spec, a `routing.json` (else its run's), where decisions go."""

    spec: Path
    calibration: Path | None = None
    audit: Path | None = None


def serving_router(
    options: ServedRouting, models: Mapping[str, ModelInfo], ensemble: bool, note: Callable[[str], None]
) -> HybridRouter:
    """The router of a server.

    Args:
        options: spec, calibration, log.
        models: what is served.
        ensemble: whether they state their doubt as members of one.
        note: told what does not fit.

    Raises:
        SpecError: the rules have no limit, or a model cannot serve them; there is no judge.
    """
    spec = load_spec(options.spec, [])
    there = routing_folder(spec) / RECORD_FILE
    place = options.calibration or (there if there.exists() else None)
    record = read_calibration(place) if place else None
    rules = fitted_rules(spec.routing, record)
    temperature = record.temperature if record else None
    _refuse_subset_temperatures(rules, record)
    _check(rules, models, ensemble, temperature)
    if record is not None and record.identity not in {info.identity for info in models.values()}:
        note(f"warning: the calibration is of another model ({record.model})")
    judge = build_judge(spec.judge, routing_folder(spec) / JUDGE_FOLDER, seed=spec.seed)
    header = log_header(spec, rules, "+".join(info.identity for info in models.values()))
    log = AuditLog(options.audit, header) if options.audit else None
    settings = settings_of(spec, share=spec.routing.budget.share)
    return HybridRouter(rules, judge, settings, log=log, temperature=temperature)


def _refuse_subset_temperatures(rules: Rules, record: RoutingRecord | None) -> None:
    """A limit on probabilities of subsets' own temperatures says nothing of those of one temperature."""
    own = [one.subset for one in record.subset_temperatures if one.used] if record else []
    if own and any(rule.kind == "probability" for rule in rules.rules):
        raise SpecError(
            f"the calibration gives {', '.join(own[:5])} a temperature of their own, and a request names no subset",
            where="routing.temperature",
            fix="write temperature: pooled and run `rewardsmith route calibrate` again",
        )


def _check(rules: Rules, models: Mapping[str, ModelInfo], ensemble: bool, temperature: float | None) -> None:
    """Refuse rules that a model cannot serve."""
    kinds = {rule.kind for rule in rules.rules}
    bare = [name for name, info in models.items() if info.temperature is None]
    if "probability" in kinds and bare and temperature is None:
        raise SpecError(
            f"the rule probability needs a calibration, and {', '.join(bare)} has none",
            where="routing.rules",
            fix="evaluate the model on held-out pairs (rewardsmith run), or route by margin",
        )
    if "interval" in kinds and not ensemble:
        raise SpecError(
            "a server knows the doubt of an ensemble only, and one model has no members",
            where="routing.rules",
            fix="serve several models with --combine, or route by probability",
        )
    if "subset" in kinds:
        raise SpecError(
            "a request names no subset", where="routing.rules", fix="route by probability, margin or interval"
        )
