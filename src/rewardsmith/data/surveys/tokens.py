"""The texts as token ids, with the tokenizer, template and limit of the training: what is measured, and what is found.

The survey is `Tokens`. Lengths, waste, ends and the limit's effect are those of the training pairs (`data.lengths`).
All kept pairs pass four watches, which keep the places of the pairs that show a fault, and counts:

    MarkerWatch     special tokens and role markers inside what people wrote: the model would take them for a turn, or
                    for the end
    PrefixWatch     prompts that become others once a response follows
    UnknownWatch    tokens that stand for what the vocabulary lacks
    ReasoningWatch  reasoning of earlier turns that the template leaves out

What the template and the pad token are like is asked once. Texts whose special tokens are wrong at their ends (EOS,
BOS, pad) never come here: the checks of tokens in `data.checks` leave them out.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardsmith.data.checks import Check
from rewardsmith.data.forms.doubts import MOST
from rewardsmith.data.lengths import LeftOut, TokenColumns, summarize
from rewardsmith.data.store import TokenizedPair
from rewardsmith.data.surveys.survey import NOWHERE, Found, Setting, Surveyed, Table
from rewardsmith.records.checks import Severity
from rewardsmith.records.texts import MarkerCount, PrefixStability, TokenSummary, UnknownTokens
from rewardsmith.rendering import FOREIGN_MARKERS, Ids, Markers, Renderer, length_said
from rewardsmith.rendering.encoding import encode, shared_prefix
from rewardsmith.rendering.template import hidden_reasoning
from rewardsmith.rendering.tokenizer import unknown_parts
from rewardsmith.statistics import wilson_interval
from rewardsmith.types import PreferencePair

_NAMED = 3
_AS_TEXT = "; plain text in the ids of this training, special tokens in those of TRL and vLLM"


class Tokens:
    """Its section is the record's `tokens`."""

    def __init__(self, setting: Setting) -> None:
        self._renderer = setting.renderer
        self._pairs_per_step = setting.spec.training.pairs_per_step
        self._as_text = setting.renderer.record.special_tokens == "text"
        self._columns = TokenColumns()
        self._markers = MarkerWatch(setting.renderer.markers())
        self._prefixes = PrefixWatch(setting.renderer)
        self._unknown = UnknownWatch(setting.renderer)
        self._reasoning = ReasoningWatch(setting.renderer)

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next kept rows, best in the chunks in which they were rendered (`Renderer.prompt_ids`)."""
        self._columns.append(rows)
        self._markers.see(rows)
        self._prefixes.see(rows)
        self._unknown.see(rows)
        self._reasoning.see(rows)

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
        yield Found(
            "reasoning_of_earlier_turns_not_shown",
            self._reasoning.places,
            lambda place: self._reasoning.describe(table.pairs[place]),
            of=self._reasoning.pairs,
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


Kind = Literal["special", "role", "foreign"]
_FIELDS: tuple[Literal["prompt", "chosen", "rejected"], ...] = ("prompt", "chosen", "rejected")
_SHOWN = 3
_HEAD = 3


class MarkerWatch:
    """Looks for special tokens and role markers in the texts of rows; never quotes the text around them.

    Whole texts (role `text`) are left alone: they come with their own markup, and their special tokens are meant.
    """

    def __init__(self, markers: Markers) -> None:
        self._kind: dict[str, Kind] = dict.fromkeys(FOREIGN_MARKERS, "foreign")
        self._kind |= dict.fromkeys(markers.roles, "role")
        self._kind |= dict.fromkeys(markers.special, "special")
        self._pattern = any_of(self._kind)
        self._seen = 0
        self._places = {"special": array("q"), "other": array("q")}
        self._pairs: Counter[str] = Counter()
        self._fields: Counter[tuple[str, str]] = Counter()

    @property
    def special(self) -> NDArray[np.int64]:
        """Places of pairs with a special token of the tokenizer in their texts."""
        return np.array(self._places["special"], dtype=np.int64)

    @property
    def roles(self) -> NDArray[np.int64]:
        """Places of pairs with another marker in their texts."""
        return np.array(self._places["other"], dtype=np.int64)

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        for place, row in enumerate(rows, start=self._seen):
            found = [(field, text) for field, texts in self._search(row.pair) for text in set(texts)]
            if found:
                self._write_down(place, found)
        self._seen += len(rows)

    def counts(self) -> tuple[MarkerCount, ...]:
        """What was found, the tokenizer's own special tokens first, then the most frequent."""
        rank = {"special": 0, "role": 1, "foreign": 2}
        texts = sorted(self._pairs, key=lambda text: (rank[self._kind[text]], -self._pairs[text], text))
        return tuple(
            MarkerCount(
                text=text,
                kind=self._kind[text],
                pairs=self._pairs[text],
                prompt=self._fields["prompt", text],
                chosen=self._fields["chosen", text],
                rejected=self._fields["rejected", text],
            )
            for text in texts
        )

    def describe(self, pair: PreferencePair, *, special: bool) -> str:
        """Which markers stand where in a pair."""
        places: dict[str, list[str]] = {}
        for field, texts in self._search(pair):
            wanted = dict.fromkeys(text for text in texts if (self._kind[text] == "special") == special)
            for text in wanted:
                places.setdefault(text, []).append(field)
        words = [f"{text.strip()} in {' and '.join(fields)}" for text, fields in places.items()]
        return ", ".join(words[:_SHOWN]) + (f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")

    def _search(self, pair: PreferencePair) -> Iterator[tuple[str, list[str]]]:
        if pair.chosen[0].role == "text":
            return
        for field in _FIELDS:
            # A header counts at the start of a line: the first line has one, too.
            found = self._pattern.findall("\n" + "\n".join(message.text for message in getattr(pair, field)))
            if found:
                yield field, found

    def _write_down(self, place: int, found: Sequence[tuple[str, str]]) -> None:
        self._fields.update(found)
        texts = {text for _, text in found}
        self._pairs.update(texts)
        kinds = {"special" if self._kind[text] == "special" else "other" for text in texts}
        for kind in kinds:
            self._places[kind].append(place)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of some literals, the longest where several begin at one place.

    Literals are grouped by their first characters: a tokenizer may reserve a thousand tokens, and `re` tries the
    alternatives one after the other wherever a first character fits.
    """
    groups: dict[str, list[str]] = {}
    for text in sorted(texts, key=lambda text: (-len(text), text)):
        groups.setdefault(text[:_HEAD], []).append(text[_HEAD:])
    # A short head may begin a longer one, and `re` takes the first alternative that fits.
    heads = sorted(groups, key=len, reverse=True)
    return re.compile("|".join(f"{re.escape(head)}(?:{'|'.join(map(re.escape, groups[head]))})" for head in heads))


_PREFIXES_SHOWN = 40


class PrefixWatch:
    """Are a prompt's tokens, with the header of the response, the first tokens of prompt and response?

    Renders the prompt of every pair alone and compares. Two ways to fail. The *text* of the prompt may change once a
    response follows: a template that drops earlier reasoning, or writes the system message into the last user turn. Or
    the text stays and the *tokens at the seam* merge: a response that begins with a line break after a header that ends
    with one. `pairs` counts those with a prompt.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._seen = 0
        self.pairs = 0
        self._rewritten = array("q")
        self._seams = array("q")

    @property
    def rewritten(self) -> NDArray[np.int64]:
        """Places of pairs whose prompt has another text with the response than without it."""
        return np.array(self._rewritten, dtype=np.int64)

    @property
    def seams(self) -> NDArray[np.int64]:
        """Places of pairs whose prompt has the same text, and other tokens at its end."""
        return np.array(self._seams, dtype=np.int64)

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        asked = [(self._seen + number, row) for number, row in enumerate(rows) if row.pair.prompt]
        prompts = self._renderer.prompt_ids([row.pair.prompt for _, row in asked])
        for (place, row), prompt_T in zip(asked, prompts, strict=True):
            if prompt_T is None or not self._begins(row, prompt_T):
                stays = prompt_T is not None and self._keeps_text(row.pair)
                (self._seams if stays else self._rewritten).append(place)
        self.pairs += len(asked)
        self._seen += len(rows)

    def describe(self, pair: PreferencePair) -> str:
        """Which tokens of the prompt become others."""
        prompt_T = self._renderer.prompt_ids([pair.prompt])[0]
        if prompt_T is None:
            return ""
        tokenizer = self._renderer.tokenizer
        texts = [self._renderer.text(pair.prompt + side) for side in (pair.chosen, pair.rejected)]
        kept, side = min(
            (shared_prefix(prompt_T, ids_T), side)
            for ids_T, side in zip(encode(tokenizer, texts), ("chosen", "rejected"), strict=True)
        )
        ending = str(tokenizer.decode(prompt_T[kept:]))
        return f"{side}: the prompt's last {len(prompt_T) - kept} tokens ({ending[-_PREFIXES_SHOWN:]!r}) become others"

    def record(self) -> PrefixStability:
        """Counts with 95 % intervals."""
        bounds = [
            wilson_interval(len(places), self.pairs) if self.pairs else None
            for places in (self._rewritten, self._seams)
        ]
        text, tokens = ((bound.low, bound.high) if bound else (None, None) for bound in bounds)
        return PrefixStability(
            pairs=self.pairs,
            text=len(self._rewritten),
            text_low=text[0],
            text_high=text[1],
            tokens=len(self._seams),
            tokens_low=tokens[0],
            tokens_high=tokens[1],
        )

    def _begins(self, row: TokenizedPair, prompt_T: Ids) -> bool:
        """Whether both texts begin with the prompt, apart from the tokens that the length policy cut out of it."""
        bos_id = self._renderer.record.bos_token_id
        # The length policy cuts behind BOS, which every text keeps.
        start = int(bos_id is not None and len(prompt_T) > 0 and prompt_T[0] == bos_id)
        left_T = np.concatenate((prompt_T[:start], prompt_T[start + row.cut :])) if row.cut else prompt_T
        return all(np.array_equal(ids_T[: len(left_T)], left_T) for ids_T in (row.chosen_ids, row.rejected_ids))

    def _keeps_text(self, pair: PreferencePair) -> bool:
        prompt = self._renderer.text(pair.prompt, add_generation_prompt=True)
        return all(self._renderer.text(pair.prompt + side).startswith(prompt) for side in (pair.chosen, pair.rejected))


_PIECES_SHOWN = 5


class UnknownWatch:
    """Counts unknown tokens in the ids of rows.

    A text loses something only where one unknown token stands for it (`loses_text`); fallback to bytes is counted too.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._unknown = renderer.unknown()
        self.loses_text = self._unknown.kind == "unk"
        self._seen = 0
        self._total = 0
        self._texts = 0
        self._tokens = 0
        self._places: list[NDArray[np.int64]] = []

    @property
    def places(self) -> NDArray[np.int64]:
        """Places of pairs with such a token in either text."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._places])

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        if rows:
            counts_P2 = self._count(rows)
            self._texts += int(np.count_nonzero(counts_P2))
            self._tokens += int(counts_P2.sum())
            self._places.append(np.flatnonzero(counts_P2.any(axis=1)) + self._seen)
        self._seen += len(rows)

    def record(self) -> UnknownTokens:
        """Counts, with a 95 % interval of the share of texts."""
        texts = 2 * self._seen
        interval = wilson_interval(self._texts, texts) if texts else None
        return UnknownTokens(
            kind=self._unknown.kind,
            token=self._unknown.token,
            of=texts,
            texts=self._texts,
            texts_low=interval.low if interval else None,
            texts_high=interval.high if interval else None,
            tokens=self._tokens,
            share=self._tokens / max(1, self._total),
        )

    def describe(self, pair: PreferencePair) -> str:
        """Which characters are unknown, field by field."""
        words = []
        for field in _FIELDS:
            text = "\n".join(message.text for message in getattr(pair, field))
            parts = list(dict.fromkeys(unknown_parts(self._renderer.tokenizer, self._unknown, text)))
            named = ", ".join(repr(part[:_PIECES_SHOWN]) for part in parts[:_PIECES_SHOWN])
            if parts:
                words.append(
                    f"{field}: {named}"
                    + (f" and {len(parts) - _PIECES_SHOWN} more" if len(parts) > _PIECES_SHOWN else "")
                )
        return "; ".join(words)

    def summary(self) -> str:
        """The shares of texts and tokens in words."""
        return f"{self._tokens:,} of {self._total:,} tokens, in {self._texts:,} of {2 * self._seen:,} texts"

    def _count(self, rows: Sequence[TokenizedPair]) -> NDArray[np.int64]:
        """Such tokens in each text of each row, shape (P, 2)."""
        texts = [ids_T for row in rows for ids_T in (row.chosen_ids, row.rejected_ids)]
        lengths = np.array([len(ids_T) for ids_T in texts], dtype=np.int64)
        self._total += int(lengths.sum())
        if not self._unknown.ids:
            return np.zeros((len(rows), 2), dtype=np.int64)
        hits = np.isin(np.concatenate(texts), self._unknown.ids)
        # The count of each text is a difference of one running sum.
        ends = np.concatenate([[0], np.cumsum(hits)])[np.cumsum(lengths)]
        return np.diff(ends, prepend=0).reshape(-1, 2)


class ReasoningWatch:
    """Finds prompts with reasoning in earlier turns that the template leaves out; `pairs`: those with reasoning."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._seen = 0
        self._places = array("q")
        self.pairs = 0

    @property
    def places(self) -> NDArray[np.int64]:
        """Places of pairs of whose prompt a thought is not shown."""
        return np.array(self._places, dtype=np.int64)

    def see(self, rows: Sequence[TokenizedPair]) -> None:
        """The next rows."""
        for place, row in enumerate(rows, start=self._seen):
            if any(turn.reasoning_content for turn in row.pair.prompt):
                self.pairs += 1
                if self._hidden(row.pair):
                    self._places.append(place)
        self._seen += len(rows)

    def describe(self, pair: PreferencePair) -> str:
        """How many turns it is."""
        return f"the reasoning of {self._hidden(pair)} earlier turns is not in the rendered text"

    def _hidden(self, pair: PreferencePair) -> int:
        conversation = pair.prompt + pair.chosen
        return hidden_reasoning(self._renderer.text(conversation), conversation)


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
REASONING_NOT_SHOWN = Check(
    code="reasoning_of_earlier_turns_not_shown",
    severity="note",
    title="Reasoning of earlier turns that the template leaves out",
    meaning="A prompt has reasoning before its last user turn, and the template does not write it; a response's own "
    "reasoning must be shown, or the row is left out.",
    why="Templates of reasoning models (Qwen3, DeepSeek R1) do so by design, and the policy will not see it either.",
    fix="nothing; where the label rests on earlier thoughts, name a template that shows them",
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
