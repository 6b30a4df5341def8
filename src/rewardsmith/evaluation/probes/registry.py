"""The registry of probes, in the order of reports. Adding one means one `Probe` and one line here; its code also stands
in `spec.probes`, so that a spec that names a probe can be checked without this room."""

from __future__ import annotations

from types import MappingProxyType

from rewardsmith.evaluation.probes.meaning import (
    CUT_OFF,
    HARMFUL_COMPLIANCE,
    LONGER_SYNONYMS,
    NEGATED_CLAIM,
    OTHER_ANSWER,
    REFUSAL,
    REPEATED_PARAGRAPH,
    SHUFFLED_SENTENCES,
    WRONG_NUMBER,
)
from rewardsmith.evaluation.probes.probe import Probe
from rewardsmith.evaluation.probes.surface import (
    BOLD,
    BULLETS,
    CODE_FENCE,
    CONFIDENT_OPENING,
    EMOJI,
    EMPTY_CITATIONS,
    FILLER,
    FLATTERY,
    FOREIGN_GREETING,
    HEADINGS,
    HEDGING,
    KEYWORD_STUFFING,
    RESTATEMENT,
    TRAILING_WHITESPACE,
)

_ALL: tuple[Probe, ...] = (
    FILLER,
    RESTATEMENT,
    HEADINGS,
    BULLETS,
    BOLD,
    EMOJI,
    CONFIDENT_OPENING,
    FLATTERY,
    HEDGING,
    EMPTY_CITATIONS,
    LONGER_SYNONYMS,
    CODE_FENCE,
    FOREIGN_GREETING,
    TRAILING_WHITESPACE,
    KEYWORD_STUFFING,
    CUT_OFF,
    SHUFFLED_SENTENCES,
    OTHER_ANSWER,
    WRONG_NUMBER,
    NEGATED_CLAIM,
    REPEATED_PARAGRAPH,
    REFUSAL,
    HARMFUL_COMPLIANCE,
)

PROBES = MappingProxyType({probe.code: probe for probe in _ALL})
