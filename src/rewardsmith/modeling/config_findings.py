"""Fields of `config.json` that make another program give another reward than ours.

    for finding in config_findings(opened):        # FileFinding: file, field, value, what follows, what to write

Our own loader does not depend on them; vLLM, SGLang, transformers' `pipeline` and TRL do. They fail a checkpoint of
ours, which promises to work elsewhere, and are notes on a published one.
"""

from __future__ import annotations

from rewardsmith.modeling.checkpoint import Checkpoint
from rewardsmith.modeling.config_faults import config_faults
from rewardsmith.modeling.loading import load_config
from rewardsmith.records import FileFinding


def config_findings(opened: Checkpoint) -> list[FileFinding]:
    """What stands wrong in a checkpoint's configuration; nothing for an adapter, which has none of its own."""
    if hasattr(opened.model, "peft_config"):
        return []
    config, rendering = load_config(opened.folder), opened.renderer.record
    pad = config.get_text_config().pad_token_id
    faults = config_faults(
        problem_type=config.problem_type,
        num_labels=config.num_labels,
        id2label=config.id2label,
        pad=pad,
        eos=rendering.eos_token_id,
    )
    export = f"or run rewardsmith export --model {opened.folder} --to hf --out DIR"
    return [
        FileFinding(
            file=f"{opened.folder}/config.json",
            field=fault.field,
            value=repr(fault.value),
            problem=fault.problem,
            fix=f"write {fault.wanted or rendering.pad_token_id}, {export}",
            fails=opened.foreign is None,
        )
        for fault in faults
    ]
