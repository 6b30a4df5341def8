"""How to load a checkpoint, in a model card: Python that runs, with the template, and what not to do.

The blocks end by computing a reward that the checkpoint records (a golden conversation, a fixed text of this project)
and comparing: whoever loads it wrongly is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from rewardsmith.records import GoldenReward
from rewardsmith.report.card_sources import CardSource

PLACE = "path/to/this/folder"
"""What stands for the model where the card is of no repository."""

BASE_PLACE = "path/to/the/base"
"""What stands for the base of an adapter where it was a folder."""

_TOLERANCE = 0.01

_WHOLE = """\
model = AutoModelForSequenceClassification.from_pretrained(name, dtype=torch.float32).eval()
"""
_ADAPTER = """\
model = AutoModelForSequenceClassification.from_pretrained("{base}", num_labels=1, dtype=torch.float32)
model.config.pad_token_id = tokenizer.pad_token_id  # else the reward is read at the wrong token
if len(tokenizer) > model.get_input_embeddings().num_embeddings:
    model.resize_token_embeddings(len(tokenizer))
model = PeftModel.from_pretrained(model, name).eval()
"""
_MESSAGES = """\
def reward(messages):
    inputs = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits[0, 0].item()
"""
_TEXT = """\
def reward(text):
    inputs = tokenizer(text + tokenizer.eos_token, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits[0, 0].item()
"""


_HOW = """\
## How to use it

A reward is one raw number for a whole conversation; only differences between answers to the same prompt mean anything.
The saved chat template is part of the model: it ends every conversation as in training, and the reward is read at that
last token.

```python
{transformers}
```

With Rewardsmith, which checks the recorded rewards on loading and computes the shared prompt of several answers once:

```python
{rewardsmith}
```

**Not `pipeline("text-classification", …)` on raw text.** It runs and returns a number, and the number is wrong:
{wrong}
Text over the length limit may be cut at its end, which is where the reward is read. Versions and settings that apply a
sigmoid squash what is left into 0 to 1."""

_WRONG_MESSAGES = """\
it applies no chat template, so that the model sees a kind of text that it never saw in training, without the roles and
without the closing `{eos}`, and the reward is read at whichever token happens to be last."""
_WRONG_TEXT = """\
it does not close the text with `{eos}`, where the reward was read in training."""


def loading(source: CardSource) -> Iterator[str]:
    """The section "How to use it"."""
    rendering = source.checkpoint.rendering
    wrong = _WRONG_MESSAGES if rendering.conversational else _WRONG_TEXT
    yield _HOW.format(
        transformers="\n".join(_transformers(source)),
        rewardsmith="\n".join(_rewardsmith(source)),
        wrong=wrong.format(eos=rendering.eos_token.replace("`", "")),
    )


def _transformers(source: CardSource) -> Iterator[str]:
    names = "AutoModelForSequenceClassification, AutoTokenizer"
    yield "import torch"
    if source.adapter:
        yield "from peft import PeftModel"
    yield from (f"from transformers import {names}", "", f'name = "{place(source)}"')
    yield "tokenizer = AutoTokenizer.from_pretrained(name)"
    yield from (_ADAPTER.format(base=source.base or BASE_PLACE) if source.adapter else _WHOLE).splitlines()
    conversational = source.checkpoint.rendering.conversational
    yield from ("", "", *(_MESSAGES if conversational else _TEXT).splitlines(), "", "")
    golden = _shortest(source.checkpoint.golden)
    if golden is None:
        return
    messages = [{"role": role, "content": text} for role, text in golden.conversation]
    known = json.dumps(messages if conversational else messages[0]["content"], ensure_ascii=False)
    yield f"known = {known}"
    yield f"saved = {golden.reward:.4f}  # its reward when the model was saved"
    yield f"assert abs(reward(known) - saved) < {_TOLERANCE}"


def _rewardsmith(source: CardSource) -> Iterator[str]:
    where = place(source)
    if source.published:
        yield from ("from huggingface_hub import snapshot_download", "")
    yield from ("from rewardsmith import LocalScorer, Message", "")
    folder = f'snapshot_download("{where}")' if source.published else f'"{where}"'
    yield f"scorer = LocalScorer.load({folder})"
    if source.checkpoint.rendering.conversational:
        yield 'question = Message("user", "What is 17 + 25?")'
        yield 'answers = [(question, Message("assistant", text)) for text in ("42", "41")]'
    else:
        yield 'answers = [(Message("text", text),) for text in ("17 + 25 = 42", "17 + 25 = 41")]'
    yield from ("rewards = scorer.score(answers)", "assert rewards.shape == (2,)")


def place(source: CardSource) -> str:
    """What a reader writes to load the model."""
    return source.name if source.published else PLACE


def _shortest(golden: tuple[GoldenReward, ...]) -> GoldenReward | None:
    return min(golden, key=lambda one: sum(len(text) for _, text in one.conversation), default=None)
