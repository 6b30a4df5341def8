"""Questions to a judge: the material of a row, put into a prompt.

    ranking_question(prompt, conversation, answers)        labels A, B, C …: which is the best?
    pairwise_question(prompt, conversation, first, second)  labels A, B, and C for a tie
    rating_question(prompt, conversation)                   the last message, from 1 to 10

Each part of the material stands under a line with a mark that is a hash of all of it: a response cannot know the
mark, so it cannot pretend to be over and speak to the judge itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from rewardsmith.judging.templates import Form, Kind, Prompt
from rewardsmith.types import Conversation

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TIE = "C"
"""The letter of a pair's tie."""

PAIR = ("A", "B", TIE)
RATINGS = tuple(str(rating) for rating in range(1, 11))


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its kind, its prompt, what fills it, and the verdicts that may be given."""

    kind: Kind
    prompt: Prompt
    conversation: str
    answers: str
    mark: str
    labels: tuple[str, ...]

    def messages(self, form: Form, *, again: bool = False) -> list[dict[str, str]]:
        """The chat messages; `again` says that a first reply could not be read."""
        values = {
            "conversation": self.conversation,
            "answers": self.answers,
            "mark": self.mark,
            "labels": _listed(self.labels),
        }
        messages = self.prompt.messages(form, values)
        if again:
            wanted = self.prompt.reply_form(form, values)
            last = messages[-1]["content"]
            messages[-1] = {
                "role": "user",
                "content": f"{last}\n\nA first reply could not be read. Once more: {wanted}",
            }
        return messages


def ranking_question(prompt: Prompt, conversation: Conversation, answers: Sequence[str]) -> Question:
    """Which of the answers, in the order in which they stand here, is the best."""
    labels = tuple(LETTERS[: len(answers)])
    shown = [(f"ANSWER {label}", answer) for label, answer in zip(labels, answers, strict=True)]
    return _question("ranking", prompt, conversation, shown, labels)


def pairwise_question(
    prompt: Prompt, conversation: Conversation, first: Conversation, second: Conversation
) -> Question:
    """Which of two responses, shown in this order, is the better one."""
    shown = [(f"RESPONSE {label}", as_text(one)) for label, one in (("A", first), ("B", second))]
    return _question("pairwise", prompt, conversation, shown, PAIR)


def rating_question(prompt: Prompt, conversation: Conversation) -> Question:
    """How good the last message is."""
    shown = [("RESPONSE", conversation[-1].content)]
    return _question("rating", prompt, conversation[:-1], shown, RATINGS)


def as_text(response: Conversation) -> str:
    """A response as one text: a lone message as it is, several with their roles."""
    if len(response) == 1:
        return response[0].content
    return "\n\n".join(f"[{message.role}]\n{message.text}" for message in response)


def _question(
    kind: Kind, prompt: Prompt, conversation: Conversation, shown: Sequence[tuple[str, str]], labels: tuple[str, ...]
) -> Question:
    turns = _sendable("\n\n".join(f"[{message.role}]\n{message.text}" for message in conversation))
    shown = [(name, _sendable(text)) for name, text in shown]
    mark = _mark([turns, *(text for _, text in shown)])
    parts = "\n\n".join(f"=== {name} {mark} ===\n{text}" for name, text in shown)
    return Question(
        kind=kind,
        prompt=prompt,
        conversation=f"=== CONVERSATION {mark} ===\n{turns}",
        answers=f"{parts}\n\n=== END {mark} ===",
        mark=mark,
        labels=labels,
    )


def _sendable(text: str) -> str:
    """Half a surrogate pair, which data sets do hold, cannot be sent: it becomes the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mark(texts: Sequence[str]) -> str:
    return hashlib.sha256("\x1e".join(texts).encode()).hexdigest()[:8]


def _listed(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:-1])} or {labels[-1]}" if len(labels) > 1 else labels[0]
