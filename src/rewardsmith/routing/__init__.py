"""The hybrid router: a reward model for the clear comparisons, an LLM judge for the ambiguous ones.

    rules.py       when a comparison is ambiguous
    opinions.py    rewards → margin, calibrated probability, spread
    laplace.py     how sure a single model is: a Laplace approximation over its head
    deciding.py    who decides, as a pure function
    router.py      the router: asks the judge within budget.py's limits, behind breaker.py, and never hangs
    tournament.py  the best of N answers with the fewest judge calls
    audit.py       the log of every decision, and its replay
    labels.py      verdicts as preference pairs

    trial.py       held-out pairs with what the model and the judge said of them
    curve.py       cost against accuracy, beside random routing and the oracle
    threshold.py   the limit for a target
    prediction.py  what the model's calibration predicts of the curve
    worth.py       whether its doubt is worth routing on, in words

Receives rewards and a judge (`protocols.Judge`); knows no endpoint, no checkpoint and no HTTP.
"""

from rewardsmith.routing.audit import AuditLog, Replay, replay
from rewardsmith.routing.curve import SHARES, Target, Trial, curve, fit_limit, make_trial
from rewardsmith.routing.router import BudgetLimits, HybridRouter, RouterSettings, best_of, opinion, opinions
from rewardsmith.routing.rules import Rule, Rules

__all__ = [
    "SHARES",
    "AuditLog",
    "BudgetLimits",
    "HybridRouter",
    "Replay",
    "RouterSettings",
    "Rule",
    "Rules",
    "Target",
    "Trial",
    "best_of",
    "curve",
    "fit_limit",
    "make_trial",
    "opinion",
    "opinions",
    "replay",
]
