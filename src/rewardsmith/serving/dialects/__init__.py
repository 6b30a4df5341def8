"""How each framework asks for rewards, and what it expects back. A dialect is a file and an entry of `DIALECTS`.

contract.py         what a dialect is; chat messages
native.py           POST /v1/score; POST /v1/compare, with who decided under `route: auto`
openrlhf.py         POST /get_reward
vllm.py             POST /classify with `input` or `messages`, also verl on vLLM; POST /pooling
sglang_classify.py  POST /classify with `text`
verl.py             POST /v1/embeddings
slime.py            POST /slime
llamafactory.py     POST /v1/score/evaluation
"""

from rewardsmith.serving.dialects import llamafactory, native, openrlhf, sglang_classify, slime, verl, vllm
from rewardsmith.serving.dialects.contract import Ask, Dialect, Rewards

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        native.SCORE,
        native.COMPARE,
        openrlhf.DIALECT,
        vllm.CLASSIFY,
        vllm.POOLING,
        sglang_classify.DIALECT,
        verl.DIALECT,
        slime.DIALECT,
        llamafactory.DIALECT,
    )
}

__all__ = ["DIALECTS", "Ask", "Dialect", "Rewards"]
