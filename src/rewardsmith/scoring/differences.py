"""What a server does otherwise, told from its rewards: `rewardsmith verify --against`.

    cause = name_cause(opened, texts, reference, served, tolerance=1e-4, sends="ids")
    cause.what                 # "a sigmoid is applied"
    cause.fix                  # what to change

The model is here, so each known fault can be done to it: the reward read at another token, a text without its EOS, with
a BOS, cut at some length, a sigmoid on top. The fault that gives the server's rewards, all of them, is the one that is
named; where none does, nothing is guessed. Rewards at every token of a text come from one forward pass of a causal
decoder; encoders are tried for the faults of texts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardsmith.modeling.checkpoint import BFLOAT16_TOLERANCE, Checkpoint
from rewardsmith.modeling.layouts import supports_tree
from rewardsmith.modeling.paths import alone
from rewardsmith.modeling.regimes import regimes_of
from rewardsmith.rendering import Ids
from rewardsmith.rendering.encoding import encode
from rewardsmith.scoring.local import one_pass

Rewards = NDArray[np.float64]

_BEFORE_LAST = 8
"""Tokens before the last at which a reward is looked for."""
_CUTS = (64, 128, 256, 384, 512, 768, 1024, 1536, 2048)
"""Where servers cut texts unless told otherwise; the first tokens kept are looked for at every length."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What a server does otherwise, in words, and what to change."""

    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class _Case:
    opened: Checkpoint
    texts: Sequence[Ids]
    reference: Rewards
    served: Rewards
    tolerance: float
    sends: str

    def scored(self, texts: Sequence[Ids]) -> Rewards:
        return alone(self.opened.model, texts)

    def explains(self, found: Rewards) -> bool:
        return bool(np.all(np.abs(found - self.served) <= self.tolerance))


_TEXT_FIX = "serve the checkpoint's own tokenizer and template: rewardsmith export --to vllm writes both"
_SIGMOID = Cause(
    "a sigmoid is applied",
    'write "problem_type": "regression" into the config.json that is served (rewardsmith export --to vllm does), or '
    'ask with "use_activation": false (vLLM) or "raw_scores": true (TEI)',
)
_SOFTMAX = Cause(
    "every reward is 1: a softmax over a single label",
    'write "problem_type": "regression" into the config.json that is served, or ask with "use_activation": false',
)


def name_cause(
    opened: Checkpoint, texts: Sequence[Ids], reference: Rewards, served: Rewards, *, tolerance: float, sends: str
) -> Cause | None:
    """The known fault that gives these rewards; None where none does, or where there are too few rewards to tell.

    Args:
        opened: the checkpoint that is thought to be served.
        texts: its texts, as ids.
        reference: their rewards here, shape (len(texts),).
        served: the server's; NaN where it has none.
        tolerance: how far rewards of the same kind may be apart.
        sends: what the server is sent: `ids`, `text`, `pair` or `messages`.
    """
    there = np.flatnonzero(~np.isnan(served)).tolist()
    if len(there) < 3:  # any two numbers lie on a line
        return None
    case = _Case(opened, [texts[index] for index in there], reference[there], served[there], tolerance, sends)
    constant = np.ptp(case.served) == 0 and np.ptp(case.reference) > tolerance
    if constant and case.served[0] == 1:
        return _SOFTMAX
    for found, cause in _faults(case):
        if case.explains(found):
            return cause
        if case.explains(_sigmoid(found)):
            return (
                _SIGMOID
                if cause is None
                else Cause(f"{_SIGMOID.what}, and {cause.what}", f"{_SIGMOID.fix}; {cause.fix}")
            )
    if constant:  # after the faults: texts often begin with the same token, which may be what is read
        what = f"every reward is {case.served[0]:.6g}: the text does not reach it"
        return Cause(what, "see whether its weights were loaded")
    return _rounded(case) or _scaled(case)


def _faults(case: _Case) -> Iterator[tuple[Rewards, Cause | None]]:
    """Each fault done to the model: its rewards, and what it is; the cheap ones first."""
    yield case.reference, None
    yield from _other_texts(case)
    if supports_tree(case.opened.model) is None and regimes_of(case.opened.model) is None:
        running = [one_pass(case.opened.model, ids_T) for ids_T in case.texts]
        yield from _other_tokens(case, running)
        yield from _cut_behind(case, running)
    yield from _cut_in_front(case)


def _other_texts(case: _Case) -> Iterator[tuple[Rewards, Cause]]:
    """The same texts with other ends."""
    rendering, tokenizer = case.opened.renderer.record, case.opened.renderer.tokenizer
    eos, bos = rendering.eos_token_id, tokenizer.bos_token_id
    newline = encode(tokenizer, ["\n"])[0]
    edits: list[tuple[str, Callable[[Ids], Any]]] = []
    if all(ids_T[-1] == eos and len(ids_T) > 1 for ids_T in case.texts):
        if case.sends == "ids":
            what = (
                "the reward is read one token before the last, which is EOS: pooling takes EOS for padding "
                "(pad_token_id is eos_token_id in the served config.json), or drops it"
            )
        else:
            what = f"the text that it reads has no EOS ({rendering.eos_token}) at its end, or its pooling skips it"
        edits.append((what, lambda ids_T: ids_T[:-1]))
        edits.append((f"a second EOS ({rendering.eos_token}) follows the text", lambda ids_T: np.append(ids_T, eos)))
    if len(newline):
        edits.append(("a line break follows the EOS", lambda ids_T: np.append(ids_T, newline)))
        edits.append(("a line break stands in place of EOS", lambda ids_T: np.append(ids_T[:-1], newline)))
    if bos is not None:
        edits.append((f"a BOS ({tokenizer.bos_token}) is put in front", lambda ids_T: np.insert(ids_T, 0, bos)))
        if all(ids_T[0] == bos and len(ids_T) > 1 for ids_T in case.texts):
            edits.append((f"the BOS ({tokenizer.bos_token}) is missing", lambda ids_T: ids_T[1:]))
    for what, edit in edits:
        changed = [np.asarray(edit(ids_T), dtype=np.int32) for ids_T in case.texts]
        yield case.scored(changed), Cause(what, _TEXT_FIX)


def _other_tokens(case: _Case, running: Sequence[Rewards]) -> Iterator[tuple[Rewards, Cause]]:
    """The reward read elsewhere in the text."""
    fix = 'serve it so that the last token is pooled (vLLM: --pooler-config \'{"pooling_type": "LAST"}\')'
    yield np.array([one[0] for one in running]), Cause("the reward is read at the first token", fix)
    yield np.array([one.mean() for one in running]), Cause("the reward is the mean over all tokens", fix)
    shortest = min(len(one) for one in running)
    for back in range(1, min(_BEFORE_LAST, shortest - 1) + 1):
        what = f"the reward is read {back} token{'s' if back > 1 else ''} before the last"
        yield np.array([one[-1 - back] for one in running]), Cause(what, fix)


def _cut_behind(case: _Case, running: Sequence[Rewards]) -> Iterator[tuple[Rewards, Cause]]:
    """Texts of which the first tokens are kept: the length is looked for in the longest one."""
    longest = max(range(len(running)), key=lambda index: len(running[index]))
    apart = np.abs(running[longest] - case.served[longest])
    squashed = np.abs(_sigmoid(running[longest]) - case.served[longest])
    places: list[int] = (np.flatnonzero(np.minimum(apart, squashed) <= case.tolerance) + 1).tolist()
    for kept in places:
        if kept < len(running[longest]):
            found = np.array([one[min(kept, len(one)) - 1] for one in running])
            yield found, _cut(f"texts are cut to their first {kept} tokens")


def _cut_in_front(case: _Case) -> Iterator[tuple[Rewards, Cause]]:
    """Texts of which the last tokens are kept, or the first with EOS over the last of them (OpenRLHF)."""
    right = [
        len(ids_T)
        for ids_T, ours, theirs in zip(case.texts, case.reference, case.served, strict=True)
        if abs(ours - theirs) <= case.tolerance
    ]
    wrong = [
        len(ids_T)
        for ids_T, ours, theirs in zip(case.texts, case.reference, case.served, strict=True)
        if abs(ours - theirs) > case.tolerance
    ]
    if not right or not wrong or max(right) >= min(wrong):
        return
    eos = case.opened.renderer.record.eos_token_id
    for kept in (one for one in {*_CUTS, max(right)} if max(right) <= one < min(wrong)):
        last = [ids_T[-kept:] for ids_T in case.texts]
        yield case.scored(last), _cut(f"texts are cut to their last {kept} tokens")
        first = [ids_T if len(ids_T) <= kept else np.append(ids_T[: kept - 1], eos) for ids_T in case.texts]
        closed = [np.asarray(ids_T, dtype=np.int32) for ids_T in first]
        yield case.scored(closed), _cut(f"texts are cut to their first {kept} tokens, the last of them EOS")
    if len(right) >= 3:
        # Which tokens are kept is not known, but that only long texts differ is.
        what = f"texts of up to {max(right)} tokens agree and those from {min(wrong)} on do not"
        fix = "raise the server's longest text (vLLM: --max-model-len), and compare rope_parameters of both config.json"
        yield case.served, Cause(f"{what}: truncation, or other positions (rope) there", fix)


def _cut(what: str) -> Cause:
    return Cause(
        f"truncation: {what}", "raise the server's longest text to the checkpoint's max_length (vLLM: --max-model-len)"
    )


def _scaled(case: _Case) -> Cause | None:
    """Rewards on a straight line over ours: a normalisation, or the sign."""
    slope, offset = np.polyfit(case.reference, case.served, 1)
    if not case.explains(slope * case.reference + offset):
        return None
    return Cause(
        f"its rewards are {slope:.4g} times ours {'+' if offset >= 0 else '-'} {abs(offset):.4g}: scaled or normalised",
        "serve the reward head as it was saved, without a mean and a deviation",
    )


def _rounded(case: _Case) -> Cause | None:
    """Differences of the size that half precision makes."""
    spread = (case.opened.record.reward_std if case.opened.record else None) or float(case.reference.std())
    apart = np.abs(case.served - case.reference)
    if apart.max() > 2 * BFLOAT16_TOLERANCE * spread:
        return None
    return Cause(
        f"dtype: differences of up to {apart.max() / spread:.2g} reward deviations, as bfloat16 or float16 makes them",
        "serve it with --dtype float32, or write --server-dtype bfloat16",
    )


def _sigmoid(rewards: Rewards) -> Rewards:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(rewards, -700, 700))), dtype=np.float64)


def other_ids(found: Ids, ours: Ids, tokenizer: Any) -> str:
    """How the ids of another template differ from ours, in words; "" where they are the same."""
    if np.array_equal(found, ours):
        return ""
    if np.array_equal(found, ours[:-1]):
        return f"EOS missing: it does not write {tokenizer.decode(ours[-1:])} at the end"
    if len(found) > len(ours) and np.array_equal(found[: len(ours)], ours):
        return f"{tokenizer.decode(found[len(ours) :])!r} follows the EOS"
    if np.array_equal(found[1:], ours):
        return f"{tokenizer.decode(found[:1])!r} stands in front"
    if np.array_equal(found, ours[1:]):
        return f"{tokenizer.decode(ours[:1])!r} is missing in front"
    shorter = min(len(found), len(ours))
    unlike = np.flatnonzero(found[:shorter] != ours[:shorter])
    at = int(unlike[0]) if len(unlike) else shorter
    shown = [tokenizer.decode(ids_T[max(0, at - 2) : at + 4]) for ids_T in (found, ours)]
    return f"from token {at + 1} on it writes …{shown[0]!r} for …{shown[1]!r}"
