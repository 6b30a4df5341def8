"""Fields of `config.json` that make another program give another reward than ours.

    for finding in config_findings(opened):        # FileFinding: file, field, value, what follows, what to write

Our own loader does not depend on them; vLLM, SGLang, transformers' `pipeline` and TRL do. They fail a checkpoint of
ours, which promises to work elsewhere, and are notes on a published one.
"""

from __future__ import annotations

from rewardsmith.modeling.checkpoint import Checkpoint
from rewardsmith.modeling.config_faults import config_faults
from rewardsmith.modeling.loading import load_config
from rewardsmith.modeling.regimes import regimes_of
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
    neighbours = _neighbour_findings(opened)
    export = f"or run rewardsmith export --model {opened.folder} --to hf --out DIR"
    return neighbours + [
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


def _neighbour_findings(opened: Checkpoint) -> list[FileFinding]:
    """Where other programs let the texts of a batch decide about each other. Ours part the batch (`regimes.py`)."""
    regimes = regimes_of(opened.model)
    if regimes is None:
        return []
    found = [
        ("rope_parameters", str(limit), f"a text of up to {limit} tokens another reward beside a longer one", "alone")
        for limit in regimes.limits + regimes.growing
        if opened.renderer.max_length > limit
    ]
    if regimes.alone:
        kind = opened.model.config.model_type
        found.append(("model_type", kind, "a text another reward in a batch: the model reads padding", "one at a time"))
    return [
        FileFinding(
            file=f"{opened.folder}/config.json",
            field=field,
            value=value,
            problem=f"transformers gives {problem}; other servers have rules of their own",
            fix=f"serve it with rewardsmith serve, which gives each text what it has alone; elsewhere send texts {fix}",
            fails=False,
        )
        for field, value, problem, fix in found
    ]
