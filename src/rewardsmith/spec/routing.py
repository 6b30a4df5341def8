"""The router of the spec: when a comparison is ambiguous, what the judge may cost, and when to do without it.

routing:
  rules:
    - kind: probability          # its limit is fitted by `route calibrate`
    - kind: subset
      subsets: [Safety]
  combine: any
  budget: {share: 0.3, cost: 20.0}
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rewardsmith.spec.section import Fraction, Refusal, Section


class MarginRule(Section):
    """Escalates comparisons whose margin is small."""

    kind: Literal["margin"] = "margin"
    """Looks at the size of the margin, in units of the reward."""
    below: float | None = Field(None, ge=0.0)
    """Margins smaller than this are escalated. `null`: `route calibrate` fits it."""


class ProbabilityRule(Section):
    """Escalates comparisons of which the calibrated model is not sure."""

    kind: Literal["probability"] = "probability"
    """Looks at the calibrated probability of the preferred response, from 0.5 to 1."""
    below: float | None = Field(None, ge=0.5)
    """Probabilities below this are escalated. `null`: `route calibrate` fits it."""


class IntervalRule(Section):
    """Escalates comparisons whose margin could as well have the other sign, by the model's own doubt."""

    kind: Literal["interval"] = "interval"
    """Looks at the confidence of the widest interval around the margin that leaves 0 out."""
    below: float | None = Field(None, ge=0.0)
    """Where the interval of this confidence (0.95, say) holds 0 is escalated. `null`: `route calibrate` fits it."""
    doubt: Literal["auto", "ensemble", "laplace"] = "auto"
    """What states the doubt: the members of an ensemble, or a Laplace approximation over the head of one model."""


class SubsetRule(Section):
    """Escalates categories."""

    kind: Literal["subset"] = "subset"
    """Looks at the subset of a row."""
    subsets: tuple[str, ...] = Field(min_length=1)
    """Comparisons of these subsets are escalated."""
    outside: bool = False
    """Instead: comparisons of all other subsets."""


RouteRule = Annotated[MarginRule | ProbabilityRule | IntervalRule | SubsetRule, Field(discriminator="kind")]


class RouteTarget(Section):
    """What the limit is fitted for."""

    kind: Literal["gain", "accuracy", "share", "cost"] = "gain"
    """The fewest escalations that reach a part of the gain or an accuracy; the most within a share or a cost."""
    value: float = Field(0.95, ge=0.0)
    """Part of the judge's gain, accuracy, share of the comparisons, or money for 1,000 comparisons."""

    @model_validator(mode="after")
    def _within_reach(self) -> RouteTarget:
        if self.kind != "cost" and self.value > 1:
            raise Refusal(f"{self.value:g} is more than all", "write a number from 0 to 1", field=("value",))
        return self


class RouteBudget(Section):
    """What escalations may cost. Beyond it the reward model's answer stands, marked as such."""

    share: Fraction | None = None
    """Largest share of the comparisons that is escalated. Of a file the least certain ones are. `null`: no limit."""
    calls_per_minute: int | None = Field(None, ge=1)
    """Most calls of any minute; a file waits, a request waits up to `seconds`. `null`: no limit."""
    cost: float | None = Field(None, ge=0.0)
    """Most money, in the currency of `judge.prices`. `null`: no limit."""


class RouteBreaker(Section):
    """A judge that keeps failing is left alone for a while."""

    failures: int = Field(5, ge=1)
    """Failures in a row after which it is not asked."""
    rest: float = Field(30.0, gt=0.0)
    """Seconds for which it is not; then one comparison tries."""


class RoutingSpec(Section):
    """The hybrid router: the reward model for the clear comparisons, the judge for the ambiguous ones."""

    rules: tuple[RouteRule, ...] = Field((ProbabilityRule(),), min_length=1)
    """When a comparison is ambiguous: rules of kind margin, probability, interval or subset."""
    combine: Literal["any", "all"] = "any"
    """Escalate where any rule says so, or where all do."""
    target: RouteTarget = Field(default_factory=RouteTarget)
    budget: RouteBudget = Field(default_factory=RouteBudget)
    concurrency: int = Field(8, ge=1)
    """Most comparisons that are with the judge at a time."""
    seconds: float = Field(30.0, gt=0.0)
    """Seconds for a verdict; then the reward model's answer stands."""
    breaker: RouteBreaker = Field(default_factory=RouteBreaker)

    @model_validator(mode="after")
    def _one_limit_is_fitted_at_a_time(self) -> RoutingSpec:
        free = [place for place, rule in enumerate(self.rules) if getattr(rule, "below", 0.0) is None]
        if len(free) > 1:
            raise Refusal(
                "a second rule without a limit: `route calibrate` fits one at a time",
                "write `below` for all but one of them",
                field=("rules", free[1], "below"),
            )
        return self
