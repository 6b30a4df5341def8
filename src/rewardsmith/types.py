"""The values that every layer speaks: messages, preference pairs, best-of-N rows. Frozen, no behaviour, no imports.

A conversation is a tuple of messages that ends with the response to be rewarded. Plain text that no chat template
should touch travels as messages of role `"text"`, whose contents are joined as they are; a conversation is either all
text or not text at all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks (`system`, `user`, `assistant`, `tool` or `text`) and what is said."""

    role: str
    content: str


Conversation = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two responses to one prompt, of which `chosen` was preferred.

    `target_margin` is how strongly it was preferred according to the data set: for analysis only, it never reaches the
    loss. `id` is unique within a source; `source` names the data set, `subset` the category.

    What follows is for the checks of the data only, "" where the data set does not say it: who gave the label, which
    models wrote the two responses, what stands where a margin should be but is no finite number, and how the row was
    written ("prompt as text, responses as messages").
    """

    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    target_margin: float | None = None
    id: str = ""
    source: str = ""
    subset: str = ""
    annotator: str = ""
    chosen_model: str = ""
    rejected_model: str = ""
    unread_margin: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True)
class BestOfN:
    """One prompt with right (`chosen`) and wrong (`rejected`) answers, each the text of one assistant turn.

    `id` is unique within a subset.
    """

    prompt: Conversation
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    subset: str
    id: str = ""

    @property
    def responses(self) -> tuple[str, ...]:
        """Chosen first, then rejected: the order of every list of rewards."""
        return self.chosen + self.rejected
