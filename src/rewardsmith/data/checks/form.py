"""Checks of one row as read: is it a preference pair at all? A row that fails is left out.

Most of these faults are found by the reader (`forms`, `messages`); here they get their explanation.
"""

from __future__ import annotations

from itertools import pairwise

from rewardsmith.data.checks.check import Check
from rewardsmith.types import Conversation, PreferencePair, tools_of


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
    if set(roles) == {"text"}:
        return ""
    if response[0].role != "assistant" or response[-1].role != "assistant":
        return f"the response begins with {response[0].role} and ends with {response[-1].role}"
    if "system" in roles[1:]:
        return "a system message stands after another message"
    if "user" not in roles:
        return "there is no user turn"
    twice = next((role for role, after in pairwise(roles) if role == after != "tool"), "")
    return f"two {twice} turns in succession" if twice else ""


def _repeats_prompt(pair: PreferencePair) -> str:
    asked = pair.prompt[-1].content.strip() if pair.prompt else ""
    sides = (pair.chosen[0].content, pair.rejected[0].content)
    if pair.chosen[0].role != "text" and asked and all(side.lstrip().startswith(asked) for side in sides):
        return f"both begin with {asked[:40]!r}"
    return ""


def _identical(pair: PreferencePair) -> str:
    return "chosen and rejected are the same text" if pair.chosen == pair.rejected else ""


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
EMPTY_TEXT = Check(
    code="empty_text",
    severity="warning",
    title="Empty text",
    meaning="A response or a user turn has no visible character.",
    why="The model would learn from failed generations that saying nothing is bad, or good, whatever was asked.",
    fix=_WRITE_IT,
    pair=_blank,
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
ROLE_ORDER = Check(
    code="role_order",
    severity="warning",
    title="Wrong order of roles",
    meaning="The turns do not go system, user, assistant, user and so on, with the response as the last turn.",
    why="The reward would be read after something that is not an answer to the prompt.",
    fix="check how the file was cut into prompt and response; a prompt ends with the user's turn",
    pair=_role_order,
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
IDENTICAL_PAIR = Check(
    code="identical_pair",
    severity="warning",
    title="Identical responses",
    meaning="Chosen and rejected are the same text.",
    why="The loss is log 2 whatever the model does: the pair costs compute and teaches nothing.",
    fix=_WRITE_IT,
    pair=_identical,
)
