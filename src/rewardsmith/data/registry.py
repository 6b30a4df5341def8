"""Every check and every survey, listed by name.

To add a check of a row: write its function and its `Check` in `checks.py`, and add it to CHECKS. To add a survey: write
the class and the `Check`s that explain its findings in `surveys/`, and add it to SURVEYS and CHECKS.
"""

from __future__ import annotations

from collections.abc import Callable

from rewardsmith.data import checks
from rewardsmith.data.checks import Check
from rewardsmith.data.shortcuts import findings
from rewardsmith.data.surveys import balance, contamination, labels, leakage, near_duplicates, private
from rewardsmith.data.surveys import tokens as token_survey
from rewardsmith.data.surveys.balance import Notes
from rewardsmith.data.surveys.survey import Setting, Survey

CHECKS: dict[str, Check] = {
    check.code: check
    for check in (
        checks.BAD_LINE,
        checks.MISSING_FIELD,
        checks.NOT_TEXT,
        checks.NOT_UNICODE,
        checks.UNKNOWN_ROLE,
        checks.UNREAD_KEY,
        checks.MISSING_PROMPT,
        checks.PROMPT_DIFFERS,
        checks.HISTORIES_DIFFER,
        checks.TRANSCRIPT,
        checks.SERIALISED,
        checks.UNKNOWN_VERDICT,
        checks.TIE,
        checks.NO_COMPARISON,
        checks.BROKEN_TREE,
        checks.IDENTICAL_PAIR,
        checks.EMPTY_TEXT,
        checks.ROLE_ORDER,
        checks.NUL_CHARACTER,
        checks.OVER_LENGTH,
        checks.TEMPLATE_REFUSED,
        checks.RESPONSE_LOST,
        checks.FIELDS_LOST,
        checks.EOS_MISSING,
        checks.EOS_DOUBLED,
        checks.BOS_DOUBLED,
        checks.PAD_IN_TEXT,
        checks.IDENTICAL_TOKENS,
        token_survey.TRUNCATED_PROMPT,
        token_survey.SPECIAL_TOKEN_IN_TEXT,
        token_survey.ROLE_MARKER_IN_TEXT,
        token_survey.PROMPT_REWRITTEN,
        token_survey.PROMPT_SEAM,
        token_survey.REASONING_NOT_SHOWN,
        token_survey.UNKNOWN_TOKEN,
        token_survey.TEMPLATE_DEPENDS_ON_DATE,
        token_survey.PAD_IS_EOS,
        checks.PROMPT_REPEATED,
        checks.IDENTICAL_FOLDED,
        checks.MOJIBAKE,
        checks.REPLACEMENT_CHARACTER,
        checks.CONTROL_CHARACTER,
        labels.DUPLICATE_PAIR,
        labels.CONTRADICTORY_PAIR,
        labels.PREFERENCE_CYCLE,
        labels.MARGIN_AGAINST_LABEL,
        labels.MARGIN_OUT_OF_RANGE,
        labels.MARGIN_UNREAD,
        labels.MARGIN_ZERO,
        balance.MIXED_FORMS,
        balance.DOMINANT_PROMPT,
        balance.MODEL_TELLS_LABEL,
        private.SECRET_IN_TEXT,
        private.PERSONAL_DATA,
        findings.LENGTH_SHORTCUT,
        findings.FORMAT_SHORTCUT,
        findings.LEXICAL_SHORTCUT,
        findings.PROMPT_BLIND_CEILING,
        findings.WEAK_SHORTCUTS,
        near_duplicates.NEAR_DUPLICATE_PAIR,
        near_duplicates.NEAR_DUPLICATE_PROMPT,
        leakage.LEAKED_PROMPT,
        leakage.NEAR_LEAKED_PROMPT,
        leakage.LEAKED_TURN,
        contamination.CONTAMINATED,
        balance.MOSTLY_REJECTED,
        balance.UNREAD_CONTEXT,
    )
}
"""By code; a row is left out for the first check that it fails, in this order."""

SURVEYS: dict[str, Callable[[Setting], Survey]] = {
    "notes": lambda _: Notes(CHECKS.values()),
    "tokens": token_survey.Tokens,
    "sources": balance.Sources,
    "overlap": near_duplicates.NearDuplicates,
    "contamination": contamination.Contamination,
    "labels": labels.Labels,
    "balance": balance.Balance,
    "private": private.Private,
    "shortcuts": findings.Shortcuts,
}
"""By name; every one sees every kept row."""
