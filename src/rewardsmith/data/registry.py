"""Every check and every survey, listed by name.

To add a check of a row: write its function and its `Check` in `checks/`, and add it to CHECKS. To add a survey: write
the class and the `Check`s that explain its findings in `surveys/`, and add it to SURVEYS and CHECKS.
"""

from __future__ import annotations

from collections.abc import Callable

from rewardsmith.data.checks import form, texts, tokens
from rewardsmith.data.checks.check import Check
from rewardsmith.data.surveys import (
    authors,
    balance,
    contamination,
    cycles,
    labels,
    leakage,
    margins,
    near_duplicates,
    private,
    repeats,
    shortcuts,
    sources,
)
from rewardsmith.data.surveys import tokens as token_survey
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
        form.UNREAD_KEY,
        form.MISSING_PROMPT,
        form.PROMPT_DIFFERS,
        form.HISTORIES_DIFFER,
        form.TRANSCRIPT,
        form.SERIALISED,
        form.UNKNOWN_VERDICT,
        form.TIE,
        form.NO_COMPARISON,
        form.IDENTICAL_PAIR,
        form.EMPTY_TEXT,
        form.ROLE_ORDER,
        texts.NUL_CHARACTER,
        tokens.OVER_LENGTH,
        tokens.TEMPLATE_REFUSED,
        tokens.RESPONSE_LOST,
        tokens.FIELDS_LOST,
        tokens.EOS_MISSING,
        tokens.EOS_DOUBLED,
        tokens.BOS_DOUBLED,
        tokens.PAD_IN_TEXT,
        tokens.IDENTICAL_TOKENS,
        token_survey.TRUNCATED_PROMPT,
        token_survey.SPECIAL_TOKEN_IN_TEXT,
        token_survey.ROLE_MARKER_IN_TEXT,
        token_survey.PROMPT_REWRITTEN,
        token_survey.PROMPT_SEAM,
        token_survey.UNKNOWN_TOKEN,
        token_survey.TEMPLATE_DEPENDS_ON_DATE,
        token_survey.PAD_IS_EOS,
        form.PROMPT_REPEATED,
        texts.IDENTICAL_FOLDED,
        texts.MOJIBAKE,
        texts.REPLACEMENT_CHARACTER,
        texts.CONTROL_CHARACTER,
        repeats.DUPLICATE_PAIR,
        repeats.CONTRADICTORY_PAIR,
        cycles.PREFERENCE_CYCLE,
        margins.MARGIN_AGAINST_LABEL,
        margins.MARGIN_OUT_OF_RANGE,
        margins.MARGIN_UNREAD,
        margins.MARGIN_ZERO,
        balance.MIXED_FORMS,
        balance.DOMINANT_PROMPT,
        authors.MODEL_TELLS_LABEL,
        private.SECRET_IN_TEXT,
        private.PERSONAL_DATA,
        shortcuts.LENGTH_SHORTCUT,
        shortcuts.FORMAT_SHORTCUT,
        shortcuts.LEXICAL_SHORTCUT,
        shortcuts.PROMPT_BLIND_CEILING,
        shortcuts.WEAK_SHORTCUTS,
        near_duplicates.NEAR_DUPLICATE_PAIR,
        near_duplicates.NEAR_DUPLICATE_PROMPT,
        leakage.LEAKED_PROMPT,
        leakage.NEAR_LEAKED_PROMPT,
        leakage.LEAKED_TURN,
        contamination.CONTAMINATED,
        sources.MOSTLY_REJECTED,
        sources.UNREAD_CONTEXT,
    )
}
"""By code; a row is left out for the first check that it fails, in this order."""

SURVEYS: dict[str, Callable[[Setting], Survey]] = {
    "notes": lambda _: Notes(CHECKS.values()),
    "tokens": token_survey.Tokens,
    "sources": sources.Sources,
    "overlap": near_duplicates.NearDuplicates,
    "contamination": contamination.Contamination,
    "labels": labels.Labels,
    "balance": balance.Balance,
    "private": private.Private,
    "shortcuts": shortcuts.Shortcuts,
}
"""By name; every one sees every kept row."""
