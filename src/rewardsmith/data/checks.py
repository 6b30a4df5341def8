"""The checks of one row: a code, a severity and an explanation each, and the function that finds the fault.

    check.pair(pair)       the detail of the fault, or "" where there is none; a function is given by where it looks:

    pair    a pair as read       a row with the fault is left out
    tokens  a tokenized pair     a row with the fault is left out
    note    a kept pair          the row stays, and the finding counts it

A check without a function explains a fault that is found elsewhere: by what reads a row (`forms`,
`rendering.messages`), by the renderer, or by a survey. `registry` lists all checks in the order in which they are
tried; what shows only in the data as a whole is a survey (`surveys`).

In order: is the row a preference pair at all; what stands inside its texts; and its token ids, with the tokenizer,
template and limit of the training. NUL is binary data or a wrong encoding, and programs cut a text there, so such a
row is left out. Other stray characters and differences in layout are noted: whether they matter is for the owner to
say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise
from os.path import commonprefix
from typing import Literal

import numpy as np

from rewardsmith.data.store import TokenizedPair
from rewardsmith.records.checks import Severity
from rewardsmith.types import Conversation, PreferencePair, tools_of

Population = Literal["read", "kept", "train", "held_out", "sources"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `meaning` says what it is, `why` why a reward model suffers from it, `fix` what to do.

    `of` names what its count is a share of: rows read or kept, training pairs, held-out pairs or sources.
    """

    code: str
    severity: Severity
    title: str
    meaning: str
    why: str
    fix: str
    pair: Callable[[PreferencePair], str] | None = None
    tokens: Callable[[TokenizedPair], str] | None = None
    note: Callable[[PreferencePair], str] | None = None
    of: Population = "read"


_WRITE_IT = "correct the rows in the file, or leave them out"

BAD_LINE = Check(
    code="bad_line",
    severity="warning",
    title="Unreadable line",
    meaning="A line is no JSON object in UTF-8, or is longer than any pair; --skip-bad-lines stepped over it.",
    why="What stood there is lost; many such lines mean that the file was cut or mixed with another.",
    fix="write the file again from its source",
)
MISSING_FIELD = Check(
    code="missing_field",
    severity="warning",
    title="Missing field",
    meaning="The prompt, the chosen or the rejected response is absent, null or an empty list.",
    why="Without both responses there is no preference to learn.",
    fix=_WRITE_IT,
)
NOT_TEXT = Check(
    code="not_text",
    severity="warning",
    title="Not text",
    meaning="A field holds a number, an image or another structure instead of text or messages.",
    why="A text reward model cannot see it; what it stands for would be missing from the example.",
    fix="convert the field to text, or map another column under data.train[].columns",
)
NOT_UNICODE = Check(
    code="not_unicode",
    severity="warning",
    title="Invalid Unicode",
    meaning="A text has a lone surrogate, usually half of an emoji that was cut.",
    why="Tokenizers refuse it.",
    fix="write the file again from the source, cutting texts between characters",
)
UNKNOWN_ROLE = Check(
    code="unknown_role",
    severity="warning",
    title="Unknown role",
    meaning="A message's role is none of system, user, assistant and tool, and no known name for one of them.",
    why="The chat template would invent a header that the base model never saw.",
    fix="rename the roles in the file",
)
UNREAD_KEY = Check(
    code="unread_key",
    severity="warning",
    title="A key of a message that nothing reads",
    meaning="A message has a key beside role, content, calls, name and reasoning, and what it holds would be lost.",
    why="The label may rest on it: an image, a refusal, a thought.",
    fix="write it into the content; or leave it out knowingly: list it under data.train[].ignore",
)
TIE = Check(
    code="tie",
    severity="note",
    title="Ties",
    meaning="The row says, by its verdict or by equal scores, that neither answer is better.",
    why="Trained on as a preference it would teach a coin toss; its reward difference should be near 0.",
    fix="nothing; ties are counted apart and do not count as bad rows",
)
UNKNOWN_VERDICT = Check(
    code="unknown_verdict",
    severity="warning",
    title="A verdict that is none of those named",
    meaning="The column that says which answer is better holds a value that the form does not name, or no number.",
    why="A guess would be wrong as often as right.",
    fix="add the value to the form's values (first, second or tie), or leave the rows out",
)
BROKEN_TREE = Check(
    code="broken_tree",
    severity="warning",
    title="Message outside its tree",
    meaning="A message answers one that is not among the rows, or below itself, or another one has its id.",
    why="Without the messages above it there is no prompt.",
    fix="export whole trees; where a part of them is wanted, name form.tree and limit, rows or share",
)
NO_COMPARISON = Check(
    code="no_comparison",
    severity="note",
    title="Nothing to compare with",
    meaning="A row has one answer only, no other row has its prompt, or its pairs are over the cap.",
    why="A preference needs two answers to one prompt.",
    fix="nothing, or raise max_pairs; where most rows are alone, check that the prompts are written alike",
)
HISTORIES_DIFFER = Check(
    code="histories_differ",
    severity="warning",
    title="The conversations part before the last turn",
    meaning="Chosen and rejected have different earlier turns, so that they do not answer one prompt.",
    why="The difference of a whole conversation would be learnt as the quality of an answer.",
    fix=_WRITE_IT,
)
TRANSCRIPT = Check(
    code="transcript",
    severity="warning",
    title="Not a transcript in turns",
    meaning="A text that holds a conversation does not go user, assistant, user and so on in marked turns.",
    why="Its turns cannot be told apart for sure; a wrong cut gives the reward to the wrong words.",
    fix="correct the markers in the file, or name another style under form.transcript",
)
SERIALISED = Check(
    code="serialised",
    severity="warning",
    title="Messages written as text that cannot be read",
    meaning="A text begins as messages do when a program prints them, and is neither JSON nor a Python literal.",
    why="The model would be trained on brackets and quotes instead of a conversation.",
    fix="write the messages as JSON",
)
MISSING_PROMPT = Check(
    code="missing_prompt",
    severity="warning",
    title="Missing prompt",
    meaning="There is no prompt column, and the responses do not begin with messages that could be one.",
    why="A response cannot be judged without what it responds to.",
    fix="name the prompt's column under columns.prompt, or write data.strings: text for whole texts without a template",
)
PROMPT_DIFFERS = Check(
    code="prompt_differs",
    severity="warning",
    title="Two prompts in one pair",
    meaning="Chosen and rejected answer different prompts, or not the prompt that the row states.",
    why="A preference between answers to different questions is no preference between answers.",
    fix=_WRITE_IT,
)


def _blank(pair: PreferencePair) -> str:
    """Blank responses and blank user turns; an empty system message says nothing and harms nothing."""
    for field in ("prompt", "chosen", "rejected"):
        for message in getattr(pair, field):
            says_nothing = not (message.content.strip() or message.tool_calls)
            if says_nothing and message.role not in ("system", "tool"):  # a tool may have nothing to answer
                return f"{field}: the {message.role} message is {message.content!r}"
    return ""


def _role_order(pair: PreferencePair) -> str:
    if pair.prompt and pair.prompt[-1].role == "assistant":
        return "the prompt ends with an assistant turn"
    for field in ("chosen", "rejected"):
        fault = _disorder(pair.prompt, getattr(pair, field))
        if fault:
            return f"{field}: {fault}"
    return ""


def _disorder(prompt: Conversation, response: Conversation) -> str:
    roles = [message.role for message in tools_of(prompt)[1] + response]
    # A plain text has no turns that could be out of order.
    if set(roles) == {"text"}:
        return ""
    if response[0].role != "assistant" or response[-1].role != "assistant":
        return f"the response begins with {response[0].role} and ends with {response[-1].role}"
    if "system" in roles[1:]:
        return "a system message stands after another message"
    if "user" not in roles:
        return "there is no user turn"
    # One assistant turn may call several tools, whose answers follow each other.
    twice = next((role for role, after in pairwise(roles) if role == after != "tool"), "")
    return f"two {twice} turns in succession" if twice else ""


def _identical(pair: PreferencePair) -> str:
    return "chosen and rejected are the same text" if pair.chosen == pair.rejected else ""


def _repeats_prompt(pair: PreferencePair) -> str:
    asked = pair.prompt[-1].content.strip() if pair.prompt else ""
    sides = (pair.chosen[0].content, pair.rejected[0].content)
    if pair.chosen[0].role != "text" and asked and all(side.lstrip().startswith(asked) for side in sides):
        return f"both begin with {asked[:40]!r}"
    return ""


EMPTY_TEXT = Check(
    code="empty_text",
    severity="warning",
    title="Empty text",
    meaning="A response or a user turn has no visible character.",
    why="The model would learn from failed generations that saying nothing is bad, or good, whatever was asked.",
    fix=_WRITE_IT,
    pair=_blank,
)
ROLE_ORDER = Check(
    code="role_order",
    severity="warning",
    title="Wrong order of roles",
    meaning="The turns do not go system, user, assistant, user and so on, with the response as the last turn.",
    why="The reward would be read after something that is not an answer to the prompt.",
    fix="check how the file was cut into prompt and response; a prompt ends with the user's turn",
    pair=_role_order,
)
IDENTICAL_PAIR = Check(
    code="identical_pair",
    severity="warning",
    title="Identical responses",
    meaning="Chosen and rejected are the same text.",
    why="The loss is log 2 whatever the model does: the pair costs compute and teaches nothing.",
    fix=_WRITE_IT,
    pair=_identical,
)
PROMPT_REPEATED = Check(
    code="prompt_repeated",
    severity="note",
    title="Answers that begin with the prompt",
    meaning="Both answers begin with the text of the prompt.",
    why="If that is how the file was written, the model sees the question twice.",
    fix="look at the rows; form: {kind: pair, repeated: true} takes it off of all of them",
    note=_repeats_prompt,
    of="kept",
)

_CONTROLS = bytes(code for code in (*range(32), 127) if chr(code) not in "\t\n\r")
_CONTROL = re.compile(f"[{re.escape(_CONTROLS.decode())}]")
_RUNS = re.compile("[^\x00-\x7f]+")
_ALONE = frozenset(map(chr, (*range(0x80, 0xA0), 0xC2, 0xC3, 0x152, 0x153)))  # bad without another one beside them
_LOST = "\ufffd"
_LINES = 20  # lines that look like mojibake and are looked at closely
_HEAD = 64  # characters that show most pairs to differ


def _in_texts(look: Callable[[str], str]) -> Callable[[PreferencePair], str]:
    """A check of a pair from a check of a text: what the first message shows that shows anything."""

    def first(pair: PreferencePair) -> str:
        for field, side in (("prompt", pair.prompt), ("chosen", pair.chosen), ("rejected", pair.rejected)):
            for message in side:
                found = look(message.text)
                if found:
                    return f"{field}: {found}"
        return ""

    return first


def _nul(text: str) -> str:
    return f"NUL at character {text.index(chr(0))}" if "\0" in text else ""


def _control(text: str) -> str:
    """Deleting bytes is ten times as fast as a search by a pattern."""
    data = text.encode()
    if len(data) == len(data.translate(None, _CONTROLS)):
        return ""
    found = _CONTROL.search(text)
    return f"U+{ord(found[0]):04X} at character {found.start()}" if found else ""


def _replaced(text: str) -> str:
    return f"U+FFFD at character {text.index(_LOST)}" if _LOST in text else ""


def _mojibake(text: str) -> str:
    """Looks like mojibake to ftfy, and ftfy can fix it: either test alone flags rare scripts and signs."""
    if text.isascii() or not _looks_bad(_neighbourhoods(text)):
        return ""
    for line in islice(filter(_looks_bad, text.split("\n")), _LINES):
        fixed = _ftfy()[1](line)
        if fixed != line:
            start = len(commonprefix([line, fixed]))  # noqa: RUF071 - characters are what is meant
            return (
                f"{line[start : start + 4]!r} at character {text.index(line) + start} was {fixed[start : start + 1]!r}"
            )
    return ""


def _neighbourhoods(text: str) -> str:
    """All that ftfy's patterns can match: characters outside ASCII, where several are together, with what is around."""
    spans = (match.span() for match in _RUNS.finditer(text))
    found = [text[max(0, start - 3) : end + 3] for start, end in spans if end - start > 1 or text[start] in _ALONE]
    return "\n".join(found)


@cache
def _ftfy() -> tuple[Callable[[str], bool], Callable[[str], str]]:
    """ftfy's two functions, loaded when the first text needs them."""
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    return is_bad, fix_encoding


def _looks_bad(text: str) -> bool:
    return not text.isascii() and _ftfy()[0](text)


def _only_layout(pair: PreferencePair) -> str:
    """Chosen and rejected with the same words: equal in form NFC with every run of whitespace as one space."""
    if len(pair.chosen) != len(pair.rejected):
        return ""
    for one, other in zip(pair.chosen, pair.rejected, strict=True):
        if one.role != other.role or not _same_words(one.text, other.text):
            return ""
    return "chosen and rejected differ in whitespace or Unicode form only"


def _same_words(one: str, other: str) -> bool:
    heads = [_folded(text[:_HEAD]).rpartition(" ")[0] for text in (one, other)]  # without the last word: it may be cut
    length = min(map(len, heads))
    return heads[0][:length] == heads[1][:length] and _folded(one) == _folded(other)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


_AGAIN = "write the file again from its source, reading it in its right encoding; ftfy.fix_text fixes single texts"

NUL_CHARACTER = Check(
    code="nul_character",
    severity="warning",
    title="NUL character",
    meaning="A text has the character U+0000.",
    why="It is binary data or UTF-16 read as something else, and many programs end a text there: rewards would differ.",
    fix="write the file again from its source, in UTF-8",
    pair=_in_texts(_nul),
)
IDENTICAL_FOLDED = Check(
    code="identical_folded",
    severity="warning",
    title="Responses that differ in layout only",
    meaning="Chosen and rejected are the same words: only whitespace or the form of Unicode characters differs.",
    why="The model learns a preference between layouts; where none was meant, as in a stray newline, it learns noise.",
    fix="leave the rows out, unless layout is what was judged (indented code, lists)",
    note=_only_layout,
    of="kept",
)
CONTROL_CHARACTER = Check(
    code="control_character",
    severity="warning",
    title="Control characters",
    meaning="A text has a control character other than tab, newline and carriage return.",
    why="A terminal or a PDF left it, or \\frac and \\beta lost \\f and \\b to a JSON reader: the text is damaged.",
    fix="write the file again from its source, or remove the characters",
    note=_in_texts(_control),
    of="kept",
)
REPLACEMENT_CHARACTER = Check(
    code="replacement_character",
    severity="warning",
    title="Characters that were lost",
    meaning="A text has U+FFFD, which stands for bytes that could not be read.",
    why="What the annotator saw there is gone; where one system's answers show it, it tells the label.",
    fix=_AGAIN,
    note=_in_texts(_replaced),
    of="kept",
)
MOJIBAKE = Check(
    code="mojibake",
    severity="warning",
    title="Text read in a wrong encoding",
    meaning="A text has signs such as \u00e2\u20ac\u2122 for an apostrophe: UTF-8 that was read as another encoding.",
    why="The model sees other words than the annotator; where one system's answers show it, it tells the label.",
    fix=_AGAIN,
    note=_in_texts(_mojibake),
    of="kept",
)


def _identical_tokens(row: TokenizedPair) -> str:
    if np.array_equal(row.chosen_ids, row.rejected_ids):
        return f"both sides are the same {len(row.chosen_ids)} tokens"
    return ""


_SPECIAL = "remove special tokens from the texts, or use a base whose template does not write them there"
_TEMPLATE = "fix the template or name another under base_model.chat_template; or correct the rows"

IDENTICAL_TOKENS = Check(
    code="identical_after_truncation",
    severity="warning",
    title="Identical after template and truncation",
    meaning="The two texts differ, but not in the tokens that the model would see.",
    why="The loss is log 2 whatever the model does; the difference that the label rests on is invisible.",
    fix="raise data.max_length, or leave the rows out; whitespace that the template strips makes no pair",
    tokens=_identical_tokens,
)
OVER_LENGTH = Check(
    code="over_length",
    severity="warning",
    title="Longer than the limit",
    meaning="A text has more tokens than data.max_length, and the policy leaves such pairs out.",
    why="A cut response is a text that nobody judged; but leaving many pairs out bends the data towards short ones.",
    fix="raise data.max_length; with data.over_length: truncate_prompt a pair stays if its responses fit",
)
TEMPLATE_REFUSED = Check(
    code="template_refused",
    severity="warning",
    title="Refused by the chat template",
    meaning="The tokenizer's template raises an error on the conversation, often at a system message.",
    why="What the base's own template does not allow, the base has not learnt to read.",
    fix=_TEMPLATE,
)
RESPONSE_LOST = Check(
    code="response_lost",
    severity="warning",
    title="Response missing from the rendered text",
    meaning="The template writes the response in part or not at all, for example without its reasoning.",
    why="The label rests on words that the model would not see.",
    fix=_TEMPLATE,
)
FIELDS_LOST = Check(
    code="fields_lost",
    severity="error",
    title="Tools, calls or reasoning missing from the rendered text",
    meaning="A row has tools, tool calls, reasoning or names that the chat template does not write. Reasoning before "
    "the last user turn may be left out, as templates of reasoning models do: it is counted as a note.",
    why="The label may rest on a call or a thought that the model would not see.",
    fix="name a template that writes them under base_model.chat_template; or leave them out of the file knowingly",
)
EOS_MISSING = Check(
    code="eos_missing",
    severity="warning",
    title="EOS is not the last token",
    meaning="The rendered text does not end with the EOS token.",
    why="The reward is read at EOS: here it would be read somewhere else than in every other row.",
    fix=_SPECIAL,
)
EOS_DOUBLED = Check(
    code="eos_doubled",
    severity="warning",
    title="EOS stands twice at the end",
    meaning="The response ends with the EOS token as text, and the template adds its own.",
    why="The reward would be read at a token that follows the end; the same text without it gets another reward.",
    fix=_SPECIAL,
)
BOS_DOUBLED = Check(
    code="bos_doubled",
    severity="warning",
    title="BOS stands twice at the front",
    meaning="The text begins with two BOS tokens.",
    why="The base model never saw that, and programs differ in how they fix it: rewards would differ with them.",
    fix=_SPECIAL,
)
PAD_IN_TEXT = Check(
    code="pad_in_text",
    severity="warning",
    title="The pad token stands inside a text",
    meaning="A text contains the pad token.",
    why="Programs that find the end of a text by its padding would read the reward in the middle.",
    fix=_SPECIAL,
)
