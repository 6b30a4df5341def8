"""Checks of one row as token ids, with the tokenizer, template and limit of the training. A row that fails is left out.

The faults of a single text are found by the renderer; here they get their explanation.
"""

from __future__ import annotations

import numpy as np

from rewardsmith.data.checks.check import Check
from rewardsmith.data.rows import TokenizedPair


def _identical(row: TokenizedPair) -> str:
    if np.array_equal(row.chosen_ids, row.rejected_ids):
        return f"both sides are the same {len(row.chosen_ids)} tokens"
    return ""


_SPECIAL = "remove special tokens from the texts, or use a base whose template does not write them there"
_TEMPLATE = "mend the template or name another under base_model.chat_template; or correct the rows"

IDENTICAL_TOKENS = Check(
    code="identical_after_truncation",
    severity="warning",
    title="Identical after template and truncation",
    meaning="The two texts differ, but not in the tokens that the model would see.",
    why="The loss is log 2 whatever the model does; the difference that the label rests on is invisible.",
    fix="raise data.max_length, or leave the rows out; whitespace that the template strips makes no pair",
    tokens=_identical,
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
    meaning="A row has tools, tool calls, reasoning or names that the chat template does not write.",
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
    why="The base model never saw that, and programs differ in how they mend it: rewards would differ with them.",
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
