"""How each framework asks for rewards and what it wants to hear. Adding one means one file and one line.

contract.py         what a dialect is
messages.py         chat messages
native_score.py     POST /v1/score
native_compare.py   POST /v1/compare; routed.py: who decided, with `route: auto`
openrlhf.py         POST /get_reward
vllm_classify.py    POST /classify with `input` or `messages`; also verl on vLLM
vllm_pooling.py     POST /pooling
vllm_input.py       what these two read
sglang_classify.py  POST /classify with `text`
verl.py             POST /v1/embeddings
slime.py            POST /slime
llamafactory.py     POST /v1/score/evaluation
"""

from rewardsmith.serving.dialects import (
    llamafactory,
    native_compare,
    native_score,
    openrlhf,
    sglang_classify,
    slime,
    verl,
    vllm_classify,
    vllm_pooling,
)
from rewardsmith.serving.dialects.contract import Ask, Dialect, Rewards

DIALECTS: dict[str, Dialect] = {
    module.DIALECT.name: module.DIALECT
    for module in (
        native_score,
        native_compare,
        openrlhf,
        vllm_classify,
        vllm_pooling,
        sglang_classify,
        verl,
        slime,
        llamafactory,
    )
}

__all__ = ["DIALECTS", "Ask", "Dialect", "Rewards"]
