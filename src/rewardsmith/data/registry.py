"""Every check and every survey, listed by name.

To add a check of a row: write its function and its `Check` in `checks/`, and add it to CHECKS. To add a survey: write
the class and the `Check`s that explain its findings in `surveys/`, and add it to SURVEYS and CHECKS.
"""

from __future__ import annotations

from collections.abc import Callable

from rewardsmith.data.checks import form, tokens
from rewardsmith.data.checks.check import Check
from rewardsmith.data.surveys import exact, sources
from rewardsmith.data.surveys.contract import Setting, Survey
from rewardsmith.data.surveys.notes import Notes

CHECKS: dict[str, Check] = {
    check.code: check
    for check in (
        form.BAD_LINE,
        form.MISSING_FIELD,
        form.NOT_TEXT,
        form.NOT_UNICODE,
        form.UNKNOWN_ROLE,
        form.MISSING_PROMPT,
        form.PROMPT_DIFFERS,
        form.IDENTICAL_PAIR,
        form.EMPTY_TEXT,
        form.ROLE_ORDER,
        tokens.OVER_LENGTH,
        tokens.TEMPLATE_REFUSED,
        tokens.RESPONSE_LOST,
        tokens.EOS_MISSING,
        tokens.EOS_DOUBLED,
        tokens.BOS_DOUBLED,
        tokens.PAD_IN_TEXT,
        tokens.IDENTICAL_TOKENS,
        exact.TRUNCATED_PROMPT,
        exact.DUPLICATE_PAIR,
        exact.CONTRADICTORY_PAIR,
        exact.LEAKED_PROMPT,
        sources.MOSTLY_REJECTED,
    )
}
"""By code; a row is left out for the first check that it fails, in this order."""

SURVEYS: dict[str, Callable[[Setting], Survey]] = {
    "notes": lambda _: Notes(CHECKS.values()),
    "sources": sources.Sources,
    "exact": exact.Exact,
}
"""By name; every one sees every kept row."""
