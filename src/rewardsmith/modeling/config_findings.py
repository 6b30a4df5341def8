"""Fields of `config.json` that make another program give another reward than ours.

    for finding in config_findings(opened):        # FileFinding: file, field, value, what follows, what to write

Our own loader does not depend on them; vLLM, SGLang, transformers' `pipeline` and TRL do. They fail a checkpoint of
ours, which promises to work elsewhere, and are notes on a published one.
"""

from __future__ import annotations

from rewardsmith.modeling.checkpoint import Checkpoint
from rewardsmith.modeling.loading import load_config
from rewardsmith.records import FileFinding


def config_findings(opened: Checkpoint) -> list[FileFinding]:
    """What stands wrong in a checkpoint's configuration; nothing for an adapter, which has none of its own."""
    if hasattr(opened.model, "peft_config"):
        return []
    config, rendering = load_config(opened.folder), opened.renderer.record
    pad = config.get_text_config().pad_token_id
    found: list[tuple[str, object, str, str]] = []
    if config.problem_type != "regression":
        said = "vLLM and transformers' pipeline apply a sigmoid to the reward"
        found.append(("problem_type", config.problem_type, said, '"regression"'))
    if config.num_labels != 1:
        found.append(("id2label", config.id2label, "transformers makes a head of another size", '{"0": "LABEL_0"}'))
    if pad is None or pad == rendering.eos_token_id:
        said = "transformers takes no batch" if pad is None else "transformers reads a reward before EOS"
        found.append(("pad_token_id", pad, said, str(rendering.pad_token_id)))
    export = f"or run rewardsmith export --model {opened.folder} --to hf --out DIR"
    return [
        FileFinding(
            file=f"{opened.folder}/config.json",
            field=field,
            value=repr(value),
            problem=problem,
            fix=f"write {wanted}, {export}",
            fails=opened.foreign is None,
        )
        for field, value, problem, wanted in found
    ]
