"""The texts as token ids, with the tokenizer, template and limit of the training: what is measured, and what is found.

Lengths, waste, ends and the limit's effect are those of the training pairs. What stands inside texts and would be read
as a turn, prompts whose tokens change when a response follows, and unknown tokens are looked for in all kept pairs.
What the template and the pad token are like is asked once.

Texts whose special tokens are wrong at their ends (EOS, BOS, pad) never come here: `checks.tokens` leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rewardsmith.data.checks.check import Check
from rewardsmith.data.forms.doubts import MOST
from rewardsmith.data.lengths import LeftOut, TokenColumns, summarize
from rewardsmith.data.rows import TokenizedPair
from rewardsmith.data.surveys.contract import NOWHERE, Found, Setting, Surveyed, Table
from rewardsmith.data.tokens.markers import MarkerWatch
from rewardsmith.data.tokens.prefixes import PrefixWatch
from rewardsmith.data.tokens.unknown import UnknownWatch
from rewardsmith.records import Severity, TokenSummary
from rewardsmith.rendering import length_said

_NAMED = 3
_AS_TEXT = "; plain text in the ids of this training, special tokens in those of TRL and vLLM"


class Tokens:
    """A survey (`contract.Survey`); its section is the record's `tokens`."""

    def __init__(self, setting: Setting) -> None:
        self._renderer = setting.renderer
        self._pairs_per_step = setting.spec.training.pairs_per_step
        self._as_text = setting.renderer.record.special_tokens == "text"
        self._columns = TokenColumns()
        self._markers = MarkerWatch(setting.renderer.markers())
        self._prefixes = PrefixWatch(setting.renderer)
        self._unknown = UnknownWatch(setting.renderer)

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, best in the chunks in which they were rendered (`Renderer.prompt_ids`)."""
        self._columns.append(rows)
        self._markers.see(rows)
        self._prefixes.see(rows)
        self._unknown.see(rows)

    def finish(self, table: Table) -> Surveyed:
        """Findings, and the section."""
        return Surveyed(tuple(self._found(table)), self._section(table))

    def _found(self, table: Table) -> Iterator[Found]:
        """Rows first, then what is true of all of them."""
        markers, prefixes, unknown = self._markers, self._prefixes, self._unknown
        cut, special, lost = np.flatnonzero(table.cut), markers.special, unknown.places
        yield Found("truncated_prompt", cut, lambda place: f"{table.cut[place]} tokens of the prompt were cut")
        yield Found(
            "special_token_in_text",
            special,
            lambda place: markers.describe(table.pairs[place], special=True),
            summary=self._most_frequent("special") + (_AS_TEXT if self._as_text and len(special) else ""),
            remove=special,
        )
        yield Found(
            "role_marker_in_text",
            markers.roles,
            lambda place: markers.describe(table.pairs[place], special=False),
            summary=self._most_frequent("role", "foreign"),
            severity=_worse_on_most(len(markers.roles), table),
        )
        yield Found(
            "prompt_rewritten",
            prefixes.rewritten,
            lambda place: "the template writes the prompt differently once a response follows",
            of=prefixes.pairs,
        )
        yield Found(
            "prompt_seam", prefixes.seams, lambda place: prefixes.describe(table.pairs[place]), of=prefixes.pairs
        )
        if unknown.loses_text:
            summary = unknown.summary() if len(lost) else ""
            yield Found("unknown_token", lost, lambda place: unknown.describe(table.pairs[place]), summary=summary)
        yield from self._of_all(len(table.row))

    def _of_all(self, kept: int) -> Iterator[Found]:
        record = self._renderer.record
        if self._renderer.date_use().differs:
            yield Found("template_depends_on_date", NOWHERE, count=kept, of=kept)
        if record.shipped_pad_token == record.eos_token:
            how = "added to the vocabulary" if record.added_pad_token else "which the vocabulary reserves"
            both = f"the tokenizer ships with {record.eos_token} as both"
            summary = f"{both}; the checkpoint pads with {record.pad_token}, {how}"
            yield Found("pad_is_eos", NOWHERE, count=kept, of=kept, summary=summary)

    def _section(self, table: Table) -> TokenSummary:
        dates, record = self._renderer.date_use(), self._renderer.record
        left_out = [
            length_said(row.detail)
            for row in (table.rejected if table.rejected.by_reason().get("over_length") else ())
            if row.reason == "over_length" and row.role == "train"
        ]
        summary = summarize(
            self._columns.numbers(table.train),
            table.keys[table.train],
            pairs_per_step=self._pairs_per_step,
            name_of=self._renderer.tokenizer.convert_ids_to_tokens,
            left_out=LeftOut(np.array(left_out, dtype=np.int64), record.max_length, record.over_length),
        )
        return summary.model_copy(
            update={
                "markers": self._markers.counts(),
                "prefix": self._prefixes.record(),
                "unknown": self._unknown.record(),
                "mentions_date": dates.mentions,
                "depends_on_date": dates.differs,
            }
        )

    def _most_frequent(self, *kinds: str) -> str:
        counts = [count for count in self._markers.counts() if count.kind in kinds]
        named = [f"{count.text.strip()} in {count.pairs:,} pairs" for count in counts[:_NAMED]]
        more = f", and {len(counts) - _NAMED} other texts" if len(counts) > _NAMED else ""
        return ", ".join(named) + more


def _worse_on_most(count: int, table: Table) -> Severity | None:
    """An error where most rows hold whole conversations in one turn; not for texts that no template touches."""
    if count <= MOST * len(table.row) or table.pairs[0].chosen[0].role == "text":
        return None
    return "error"


TRUNCATED_PROMPT = Check(
    code="truncated_prompt",
    severity="note",
    title="Prompts cut at their beginning",
    meaning="A text had more tokens than data.max_length; the oldest ones of its prompt were cut, on both sides.",
    why="The model judges answers to questions that it sees in part.",
    fix="raise data.max_length, or write data.over_length: drop",
    of="kept",
)
SPECIAL_TOKEN_IN_TEXT = Check(
    code="special_token_in_text",
    severity="warning",
    title="Special tokens inside what people wrote",
    meaning="A message contains a token that opens or closes turns or texts: EOS, BOS, a header; the row is left out.",
    why="The model would read a turn that nobody took, or an end that is none; a policy can learn to write it.",
    fix="remove the tokens from the texts; or write data.special_tokens: text, which encodes them as plain text, "
    "so that the row stays and programs such as TRL and vLLM give it other ids",
    of="kept",
)
ROLE_MARKER_IN_TEXT = Check(
    code="role_marker_in_text",
    severity="note",
    title="Role markers inside what people wrote",
    meaning="A text contains words that open a turn in this template or in that of another model, as plain text. On "
    "most rows of conversational data it is an error: the texts hold whole conversations, each read as one turn.",
    why="A response that goes on with the user's next turn is a failed generation; a prompt may hold whole dialogues.",
    fix="look at the examples; cut the responses there, or write the turns of a prompt as messages",
    of="kept",
)
PROMPT_REWRITTEN = Check(
    code="prompt_rewritten",
    severity="warning",
    title="The template rewrites the prompt once a response follows",
    meaning="The text of prompt and response does not begin with the text of the prompt and the response's header.",
    why="A policy answers one prompt and the reward model judges the answer to another; nothing of it can be shared.",
    fix="name a template under base_model.chat_template that writes each turn once and never changes it",
    of="kept",
)
PROMPT_SEAM = Check(
    code="prompt_seam",
    severity="note",
    title="Tokens merge where the response begins",
    meaning="The prompt's last tokens become others when the response follows, often at a line break or a space.",
    why="A program that joins the tokens of prompt and response, instead of their texts, gets another reward.",
    fix="strip the responses' leading whitespace, and score texts, not joined tokens",
    of="kept",
)
UNKNOWN_TOKEN = Check(
    code="unknown_token",
    severity="warning",
    title="Characters that the tokenizer does not know",
    meaning="A text has characters or words for which the vocabulary has nothing but the unknown token.",
    why="The model cannot see what stands there; two texts that differ only in it are the same to the model.",
    fix="choose a base whose tokenizer falls back to bytes, or leave such rows out",
    of="kept",
)
TEMPLATE_DEPENDS_ON_DATE = Check(
    code="template_depends_on_date",
    severity="warning",
    title="The chat template writes today's date",
    meaning="The template asks for the date and writes it, so that the same conversation has other tokens every day.",
    why="Rewards drift with the calendar: what was verified, cached or gated on one day is no longer true on the next.",
    fix="copy the template to a file, write a fixed date in it, and name it under base_model.chat_template",
    of="kept",
)
PAD_IS_EOS = Check(
    code="pad_is_eos",
    severity="note",
    title="The base's tokenizer pads with EOS",
    meaning="The tokenizer ships with one token for padding and for the end of a text; training uses another to pad.",
    why="Transformers reads a reward at the last token that is not the pad token: with pad = EOS, one token early.",
    fix="nothing for this model; do not replace the tokenizer that is saved with it by the base's own",
    of="kept",
)
