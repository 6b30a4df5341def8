"""Load checkpoints with the transformers of this interpreter, as somebody else's program does, and compare.

    .venv-transformers/4.51.3/bin/python load_checkpoints.py FOLDER      # one JSON line a checkpoint

Nothing of Rewardsmith is imported: AutoTokenizer, its own chat template, AutoModelForSequenceClassification.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import huggingface_hub
import tokenizers
import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

SAID = []


class Kept(logging.Handler):
    """Keeps what transformers says while it loads."""

    def emit(self, record):
        SAID.append(record.getMessage())


def look(case):
    """What this version makes of one checkpoint."""
    folder = case["folder"]
    known = sys.modules["transformers.models.auto.configuration_auto"].CONFIG_MAPPING_NAMES
    kind = json.loads(Path(folder, "config.json").read_text())["model_type"]
    if kind not in known:
        return {"skipped": f"transformers {transformers.__version__} does not know the model type {kind}"}
    if AutoConfig.for_model(kind).__class__ not in AutoModelForSequenceClassification._model_mapping:
        return {"skipped": f"transformers {transformers.__version__} has no sequence classifier of {kind}"}
    SAID.clear()
    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.apply_chat_template(one, tokenize=True, return_dict=False) for one in case["messages"]]
    texts = [tokenizer.apply_chat_template(one, tokenize=False) for one in case["messages"]]
    as_text = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    with torch.no_grad():
        alone = [float(model(torch.tensor([one])).logits[0, 0]) for one in case["ids"]]
        longest = max(map(len, case["ids"]))
        rows = [one + [case["pad"]] * (longest - len(one)) for one in case["ids"]]
        mask = [[1] * len(one) + [0] * (longest - len(one)) for one in case["ids"]]
        padded = model(torch.tensor(rows), attention_mask=torch.tensor(mask)).logits[:, 0].tolist()
    return {
        "ids": ids == case["ids"] and as_text == case["ids"],
        "tokenizer": type(tokenizer).__name__,
        "dtype": str(next(model.parameters()).dtype),
        "labels": config.num_labels,
        "alone": max(abs(one - other) for one, other in zip(alone, case["rewards"], strict=True)),
        "padded": max(abs(one - other) for one, other in zip(padded, case["rewards"], strict=True)),
        "said": list(SAID),
    }


def main():
    """One line for each case."""
    torch.set_num_threads(1)
    logging.getLogger("transformers").addHandler(Kept())
    warnings.showwarning = lambda message, *_, **__: SAID.append(str(message))
    found = {"from": transformers.__file__, "tokenizers": tokenizers.__file__, "hub": huggingface_hub.__file__}
    print(json.dumps({"transformers": transformers.__version__, **found}), flush=True)
    for case in json.loads(Path(sys.argv[1], "cases.json").read_text()):
        try:
            found = look(case)
        except Exception as error:  # what it raises is the answer
            found = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps({"name": case["name"], **found}), flush=True)


if __name__ == "__main__":
    main()
