"""The reward head: one scalar, read at the last token that the attention mask keeps.

transformers' own pooling takes the rightmost token whose *id* is not the pad id, so that a pad id that stands in the
text (or pad == eos) moves the reward. `install_reward_forward` replaces the forward of a sequence-classification
decoder by one that looks at the mask, and that computes the head on the gathered positions only, in float32 whatever
the type of the weights: a reward of 10 in bfloat16 has steps of 0.06, which makes ties of answers that differ.

    rewards_B1 = model(input_ids=ids_BT, attention_mask=mask_BT).logits
    rewards_R1 = model(input_ids=ids_1T, position_ids=pos_1T, reward_positions=at_R, tree_layout=…).logits

Where the reward of a text would depend on its neighbours in the batch (`regimes.py`), the batch is parted first, inside
the forward: so training, scoring, serving and a script of one's own get the same.

Encoders with a pooler of their own (BERT) keep their forward.

Of a row of token trees the last layer computes the reward positions only, once `restrict_last_layer` was called:
nobody reads the other tokens. What works on one token at a time (the query and output projections, the MLP or the
experts) then sees R tokens instead of the T of the row; keys and values still need all of them. For a model of 6 layers
that is a seventh of all work, for one of 36 a fortieth.

Shape suffixes: B texts, T tokens, D hidden width, R rewards.
"""

from __future__ import annotations

import threading
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

from rewardsmith.modeling.cpu_matmul import use_faster_products
from rewardsmith.modeling.regimes import ATTRIBUTE, Regimes, find_regimes, reads_padding
from rewardsmith.modeling.tree.token_tree import TreeLayout

_POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe")


def find_head_owner(model: Any) -> Any:
    """The sequence-classification module inside `model`, below any adapter wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def reads_one_token(model: Any) -> bool:
    """Whether the reward is a linear head `score` on one token's hidden state (decoders), not a pooler (encoders)."""
    owner = find_head_owner(model)
    return hasattr(owner, "score") and hasattr(owner, owner.base_model_prefix)


def position_limit(model: Any) -> int | None:
    """The most tokens that a model with learned positions can take; None where positions are computed (rotary)."""
    tables = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in _POSITION_TABLES
    ]
    if not tables:
        return None
    # RoBERTa counts from its pad id on and leaves the first rows of the table unused.
    return min(table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1) for table in tables)


def install_reward_forward(model: Any) -> Any:
    """Make `model` read its reward by position or by mask, each text in its own regime; returns `model`.

    Encoders keep their forward, unless they read the padding beside a text.
    """
    use_faster_products(model)
    owner = find_head_owner(model)
    if getattr(owner, ATTRIBUTE, None) is not None:
        del owner.forward  # the probe below asks the model as it is
    regimes = find_regimes(owner)
    if reads_one_token(model):
        owner.score.float()
        owner.forward = MethodType(_reward_forward, owner)
    elif regimes is None and reads_padding(owner):
        regimes = Regimes(alone=True)
    setattr(owner, ATTRIBUTE, regimes)
    if regimes is not None:
        owner.forward = MethodType(_forward_by_regime, owner)
    return model


def _forward_by_regime(
    self: nn.Module, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs: Any
) -> Any:
    """The forward, once for each regime among the texts; texts come without the padding of the others."""
    regimes: Regimes = getattr(self, ATTRIBUTE)
    plain: Any = _reward_forward if reads_one_token(self) else type(self).forward
    given = (kwargs.get("reward_positions"), kwargs.get("position_ids"))
    regimes.forget()
    if input_ids is None or attention_mask is None or any(one is not None for one in given):
        return plain(self, input_ids=input_ids, attention_mask=attention_mask, **kwargs)
    texts = [
        (ids[start:end], mask[start:end])
        for ids, mask, start, end in zip(input_ids, attention_mask, *_spans(input_ids, attention_mask), strict=True)
    ]
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for row, (ids, _) in enumerate(texts):
        rows_of.setdefault(regimes.key(len(ids)), []).append(row)
    found, order = [], []
    for rows in rows_of.values():
        regimes.forget()
        ids_BT, mask_BT = (
            nn.utils.rnn.pad_sequence([texts[row][part] for row in rows], batch_first=True) for part in (0, 1)
        )
        found.append(plain(self, input_ids=ids_BT, attention_mask=mask_BT, **kwargs).logits)
        order.extend(rows)
    # The argsort of a permutation is its inverse.
    back = torch.tensor(order, device=found[0].device).argsort()
    return SequenceClassifierOutputWithPast(logits=torch.cat(found)[back])


def _spans(ids_BT: Tensor, mask_BT: Tensor) -> tuple[list[int], list[int]]:
    """Where the text of each row starts and ends. A doubled BOS whose first is masked (`pad_right`) keeps its place."""
    start_B = mask_BT.to(torch.int64).argmax(dim=1)
    if ids_BT.shape[1] > 1:
        start_B = torch.where((start_B == 1) & (ids_BT[:, 0] == ids_BT[:, 1]), 0, start_B)
    return start_B.tolist(), (last_kept_position(mask_BT) + 1).tolist()


def last_kept_position(mask_BT: Tensor) -> Tensor:
    """Position of the last token that each row of the mask keeps, shape (B,); padding may stand on either side."""
    steps_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    # argmax names the first of equal values: numbers that rise along the row make the last kept one the largest.
    return (mask_BT.to(torch.int64) * (steps_T + 1)).argmax(dim=1)


def _reward_forward(
    self: nn.Module,
    input_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    reward_positions: Tensor | None = None,
    use_cache: bool | None = None,
    **kwargs: Any,
) -> SequenceClassifierOutputWithPast:
    """Rewards as `.logits`: (B, 1) at the end of each row, or (R, 1) at `reward_positions` of the one row there is."""
    for unused in ("labels", "return_dict", "output_attentions", "output_hidden_states"):
        kwargs.pop(unused, None)
    decoder = getattr(self, str(self.base_model_prefix))
    if position_ids is None and input_ids is not None and attention_mask is not None and reward_positions is None:
        position_ids = _positions_beside_left_padding(self, input_ids, attention_mask)
    # One row that is read at several places has no padding; a layout says who attends to whom.
    mask = attention_mask if reward_positions is None else None
    if kwargs.get("tree_layout") is not None:
        mask = layout_instead_of_mask(input_ids, inputs_embeds)
    hidden_BTD = decoder(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=position_ids,
        inputs_embeds=inputs_embeds,
        # No text is continued, so keys and values of earlier layers would be kept for nothing.
        use_cache=False,
        **kwargs,
    ).last_hidden_state
    hidden_RD = _gather(hidden_BTD, attention_mask, reward_positions)
    head: Any = self.score
    # The head stays in float32: in bfloat16 a reward of 10 has steps of 0.06, and answers become ties.
    with torch.autocast(hidden_RD.device.type, enabled=False):
        rewards_R1 = head(hidden_RD.to(next(head.parameters()).dtype))
    return SequenceClassifierOutputWithPast(logits=rewards_R1)


def layout_instead_of_mask(*inputs: Tensor | None) -> Tensor:
    """What a row of trees brings for a mask: four dimensions, which transformers hands on to attention as they are.

    Only for calls with a `tree_layout`: other attention would read it as "everyone sees everything". Without a mask
    transformers would look through the positions for packed texts, and wait for the device to tell.
    """
    device = next(one.device for one in inputs if one is not None)
    return torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)


def _positions_beside_left_padding(model: nn.Module, ids_BT: Tensor, mask_BT: Tensor) -> Tensor | None:
    """Learned positions that count from the first token of a text, where padding stands before it; else None.

    transformers counts from the start of the row, so that the width of a batch would move a text along the table.
    """
    if position_limit(model) is None or bool(mask_BT[:, 0].all()):
        return None
    start_B, _ = _spans(ids_BT, mask_BT)
    if not any(start_B):
        return None
    steps_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    return (steps_T - torch.tensor(start_B, device=ids_BT.device)[:, None]).clamp(min=0)


def _gather(hidden_BTD: Tensor, mask_BT: Tensor | None, positions_R: Tensor | None) -> Tensor:
    if positions_R is not None:
        return hidden_BTD[0, positions_R]
    if mask_BT is None:
        return hidden_BTD[:, -1]
    rows_B = torch.arange(hidden_BTD.shape[0], device=hidden_BTD.device)
    return hidden_BTD[rows_B, last_kept_position(mask_BT)]


LAYERS = ("layers", "h")
ATTENTION = ("self_attn", "attention", "attn")
# Only modules that treat every token by itself. Fused query-key-value projections are left alone: keys need all tokens.
TOKENWISE_IN_ATTENTION = ("q_proj", "o_proj", "dense", "c_proj", "out_proj")
TOKENWISE_IN_LAYER = ("mlp", "feed_forward", "block_sparse_moe")

_FLAG = "_rewardsmith_reads_rewards_only"
_layout_of_thread = threading.local()


def restrict_last_layer(decoder: nn.Module) -> bool:
    """Let the last layer of `decoder` (the base model) compute rewards' positions only. Returns whether it could.

    Once, after loading; adapters may come before or after. It is done with hooks, so that no model's code is copied:
    before such a module its input is cut to the reward positions, behind it the output is laid back into a row of
    zeros. The attention module receives `tree_layout` as a keyword argument and notes it for the modules that run
    within the same layer on the same thread, in a backward recomputation (gradient checkpointing) too. Calls without a
    layout pass through untouched.
    """
    layers = next((getattr(decoder, name) for name in LAYERS if hasattr(decoder, name)), None)
    if not isinstance(layers, nn.ModuleList) or not layers:
        return False
    layer = layers[-1]
    attention = next((getattr(layer, name) for name in ATTENTION if hasattr(layer, name)), None)
    if attention is None or reads_rewards_only(attention):
        return attention is not None
    setattr(attention, _FLAG, True)
    attention.register_forward_pre_hook(_note_layout, with_kwargs=True)
    owners = [(attention, TOKENWISE_IN_ATTENTION), (layer, TOKENWISE_IN_LAYER)]
    for module in [getattr(owner, name, None) for owner, names in owners for name in names]:
        if isinstance(module, nn.Module):
            module.register_forward_pre_hook(_cut)
            module.register_forward_hook(_lay_back)
    return True


def reads_rewards_only(attention: nn.Module) -> bool:
    """Whether only the reward positions of this attention module's output are read."""
    return getattr(attention, _FLAG, False)


def reward_rows(layout: TreeLayout, device: torch.device) -> Tensor:
    """(R,) reward positions on `device`, moved there once for a layout."""
    return layout.ask(("reward rows", str(device)), lambda row: send(torch.from_numpy(row.reward_positions), device))


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on `device`, from pinned memory to a GPU: the host does not wait for what runs there."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _note_layout(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    del module, args
    _layout_of_thread.layout = kwargs.get("tree_layout")


def _cut(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
    del module
    layout = getattr(_layout_of_thread, "layout", None)
    if layout is None:
        return None
    return args[0].index_select(1, reward_rows(layout, args[0].device)), *args[1:]


def _lay_back(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
    del module, args
    layout = getattr(_layout_of_thread, "layout", None)
    if layout is None:
        return None
    # Zeros elsewhere: nobody reads what the last layer makes of other positions.
    row = output.new_zeros((1, len(layout), *output.shape[2:]))
    return row.index_copy(1, reward_rows(layout, output.device), output)
