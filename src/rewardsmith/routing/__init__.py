"""The hybrid router: a reward model for the clear comparisons, an LLM judge for the ambiguous ones.

    rules.py       rewards → margin, calibrated probability, spread; when a comparison is ambiguous; who decides;
                   how sure a single model is: a Laplace approximation over its head
    router.py      the router: asks the judge within limits and behind a breaker, and never hangs; the best of N
    audit.py       the log of every decision, and its replay
    curve.py       held-out pairs: cost against accuracy, beside random routing and the oracle; the limit for a target;
                   whether to route at all
    abstention.py  a limit with a bound on the share of wrong confident verdicts

Receives rewards and a judge (`protocols.Judge`); knows no endpoint, no checkpoint and no HTTP.
"""

from rewardsmith.routing.audit import AuditLog, replay
from rewardsmith.routing.curve import SHARES, Target, Trial, curve, fit_limit, make_trial
from rewardsmith.routing.router import BudgetLimits, HybridRouter, RouterSettings, best_of
from rewardsmith.routing.rules import Rule, Rules, opinion, opinions

__all__ = [
    "SHARES",
    "AuditLog",
    "BudgetLimits",
    "HybridRouter",
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
