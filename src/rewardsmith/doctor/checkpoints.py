"""The known faults of a checkpoint folder, from its files alone: no model and no tokenizer is loaded.

    for finding in checkpoint_findings(Path("runs/x/model")): finding.rule, finding.file, finding.problem, finding.fix

Most of these give wrong rewards without an error: pad that is EOS, a LoRA adapter without its head, a head missing or
of another size, weights of NaN, a sigmoid in another program, ids beyond the embedding, a template that does not end
with EOS. Weights are read for NaN and infinity alone: a second for each gigabyte or two.
`rewardsmith verify` goes further: it loads the model and compares rewards on every path.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rewardsmith.doctor.scanning import Fixed
from rewardsmith.errors import RenderingError, first_line
from rewardsmith.modeling.faults import config_faults, known_faults
from rewardsmith.modeling.spellings import SPELLERS, gaps, respelled, tokenizer_for_both
from rewardsmith.modeling.stored import BEFORE_IT_DIVERGED, none_in, not_finite
from rewardsmith.records.bounded import parse_json, read_bounded, regular
from rewardsmith.records.doctor import DoctorFinding
from rewardsmith.rendering.sandbox import run_template
from rewardsmith.types import Message

_CONVERSATION = (
    Message("user", "Which is longer, a mile or a kilometre?"),
    Message("assistant", "A mile."),
)
_SHOWN = 24
_HEAD = re.compile(r"(^|\.)(score|classifier|v_head|value_head|regression_head)\b(?!.*\blora_)")
_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.weight$")
_REWARD_CLASSES = ("ForSequenceClassification", "RewardModel", "LLMForSequenceRegression")
_LARGEST_HEADER = 100_000_000  # bytes; safetensors' own reader refuses more


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a model: an adapter, or a configuration that names a model type."""
    if (folder / "adapter_config.json").is_file():
        return True
    config = folder / "config.json"
    try:
        # What is no file is looked at as well: it stands where a model's configuration should.
        return os.path.lexists(config) and (not config.is_file() or b'"model_type"' in read_bounded(config))
    except (OSError, ValueError):
        return False


def is_reward_model(folder: Path) -> bool:
    """Whether a folder's configuration says that its model gives rewards; an adapter is taken for one."""
    files = _Files(folder)
    return bool(files.adapter) or files.is_reward_model or files.by_openrlhf


def checkpoint_findings(folder: Path) -> list[DoctorFinding]:
    """What is wrong in a checkpoint folder, each with its file and its fix."""
    files = _Files(folder)
    found: list[DoctorFinding] = []
    for check in CHECKS:
        try:
            found += check(files)
        except (AttributeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            # A setting of another kind than upstream writes: a list for an object, a text for a number.
            reason = f"a setting is of another kind than it should be: {first_line(error)}"
            files.broken.setdefault("config.json or tokenizer files", reason)
    return [*found, *(_finding(files, "checkpoint-unreadable", name, why, "") for name, why in files.broken.items())]


@dataclass
class _Files:
    """The JSON files and tensor names of one folder, read once; `broken` says what could not be read."""

    folder: Path
    broken: dict[str, str] = field(default_factory=dict)

    @cached_property
    def config(self) -> dict[str, Any]:
        return self._json("config.json")

    @cached_property
    def adapter(self) -> dict[str, Any]:
        return self._json("adapter_config.json")

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        return self._json("tokenizer_config.json")

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        return self._json("tokenizer.json")

    @cached_property
    def tensors(self) -> dict[str, tuple[int, ...] | None]:
        """Names of tensors with their shapes, from the index and the headers of safetensors files."""
        shapes: dict[str, tuple[int, ...] | None] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                shapes |= _header(path)
            except (OSError, ValueError) as error:
                self.broken[path.name] = f"its header cannot be read: {error}"
        index = self._json("model.safetensors.index.json").get("weight_map", {})
        return dict.fromkeys(index) | shapes

    @property
    def is_reward_model(self) -> bool:
        """What a base model or a policy is free to do, a reward model is not."""
        return any(str(name).endswith(_REWARD_CLASSES) for name in self.config.get("architectures") or ())

    @property
    def by_openrlhf(self) -> bool:
        """OpenRLHF's class is not one of transformers'; its configuration names no labels."""
        return "value_head_prefix" in self.config or "RewardModel" in (self.config.get("architectures") or ())

    def text_setting(self, name: str) -> Any:
        """A setting of the configuration, or of its text part."""
        return self.config.get(name, (self.config.get("text_config") or {}).get(name))

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not os.path.lexists(path):
            return {}
        try:
            read = parse_json(regular(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.broken[name] = f"it cannot be read: {error}"
            return {}
        return read if isinstance(read, dict) else {}


def _header(path: Path) -> dict[str, tuple[int, ...] | None]:
    """Names and shapes in a safetensors file: eight bytes of length, then JSON."""
    with regular(path).open("rb") as file:
        size = file.read(8)
        (length,) = struct.unpack("<Q", size) if len(size) == 8 else (0,)
        # The format's own limit: memory for a damaged length must not be asked for.
        if not 0 < length < _LARGEST_HEADER:
            raise ValueError("it is no safetensors file")
        header = parse_json(file.read(length))
    try:
        return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("its header is not that of a safetensors file") from error


def _adapter_head(files: _Files) -> Iterator[DoctorFinding]:
    """An adapter without the head loads with a new, random one (seen: reward 2.021 in training, 0.647 reloaded)."""
    if not files.adapter:
        return
    if any(_HEAD.search(name) for name in files.tensors):
        return
    if not files.tensors and (files.folder / "adapter_model.bin").exists():
        files.broken["adapter_model.bin"] = "a pickle is not read; save the adapter as safetensors"
        return
    wanted = files.adapter.get("task_type") == "SEQ_CLS" or "score" in (files.adapter.get("modules_to_save") or ())
    saved = "though it was to be saved" if wanted else "which only task_type SEQ_CLS or modules_to_save=['score'] saves"
    yield _finding(
        files,
        "checkpoint-adapter-head",
        "adapter_model.safetensors",
        f"the adapter has no reward head, {saved}: loaded, it gives random rewards",
        "train again with task_type='SEQ_CLS'; the head of this run is lost",
        found="no score.weight",
    )


def _model_head(files: _Files) -> Iterator[DoctorFinding]:
    """transformers makes up a head that is missing, and says so only in a warning."""
    names = files.tensors
    if files.is_reward_model and not files.adapter and names and not any(map(_HEAD.search, names)):
        yield _finding(
            files,
            "checkpoint-head-missing",
            "model.safetensors",
            "the weights have no reward head: loaded, it is random",
            "save the whole model, or name the folder that has the head",
            found="no score.weight",
        )


def _finite(files: _Files) -> Iterator[DoctorFinding]:
    """NaN spreads to every reward; other programs load it without a word."""
    for path in sorted(files.folder.glob("*.safetensors")):
        if path.name in files.broken:
            continue
        try:
            odd = not_finite(path)
        except (OSError, LookupError, TypeError, ValueError) as error:
            files.broken[path.name] = f"its weights cannot be read: {first_line(error)}"
            continue
        if odd:
            yield _finding(
                files,
                "checkpoint-not-finite",
                path.name,
                f"{none_in(odd)}: every reward is none",
                BEFORE_IT_DIVERGED,
                found=odd[0],
            )


def _settings(files: _Files) -> Iterator[DoctorFinding]:
    """The settings that other programs go by, as `rewardsmith verify` judges them."""
    if not files.is_reward_model:
        return
    labels = files.config.get("id2label")
    # transformers takes two labels where a configuration states none.
    number = files.config.get("num_labels", len(labels) if labels else 2)
    faults = config_faults(
        problem_type=files.config.get("problem_type"),
        num_labels=int(number),
        id2label=labels,
        pad=files.text_setting("pad_token_id"),
        eos=_eos_id(files),
    )
    for fault in faults:
        name = "num-labels" if fault.field == "id2label" else fault.field.removesuffix("_token_id").replace("_", "-")
        sigmoid = fault.field == "problem_type"
        yield _finding(
            files,
            f"checkpoint-{name}",
            "config.json",
            fault.problem,
            f"write {fault.wanted or 'the id of a pad token of its own'}, or run rewardsmith export --to hf",
            found=f"{fault.field}: {json.dumps(fault.value)}",
            severity="warning" if sigmoid or (fault.field == "id2label" and files.by_openrlhf) else "error",
        )


def _tokenizer_pad(files: _Files) -> Iterator[DoctorFinding]:
    """A tokenizer that pads with EOS hides the last token from programs that mask by id."""
    pad, eos = (_token(files.tokenizer_config.get(name)) for name in ("pad_token", "eos_token"))
    if pad and pad == eos and (files.is_reward_model or files.adapter):
        yield _finding(
            files,
            "checkpoint-pad-is-eos",
            "tokenizer_config.json",
            "pad is EOS: transformers reads the reward one token early, at the last token that is not pad",
            "add a pad token of its own; rewardsmith export --to hf does",
            found=f"pad_token: {json.dumps(pad, ensure_ascii=False)}",
        )


def _vocabulary(files: _Files) -> Iterator[DoctorFinding]:
    """An id beyond the embedding ends in an index error, on a GPU in a broken device."""
    ids = [*(files.tokenizer.get("model", {}).get("vocab") or {}).values()] if _is_mapping(files) else []
    ids += [token["id"] for token in files.tokenizer.get("added_tokens") or () if "id" in token]
    shapes = (shape for name, shape in files.tensors.items() if _EMBEDDING.search(name) and shape)
    rows = next(shapes, (files.text_setting("vocab_size") or 0,))[0]
    if ids and rows and max(ids) >= rows:
        yield _finding(
            files,
            "checkpoint-vocabulary",
            "tokenizer.json",
            f"the tokenizer has ids up to {max(ids)}, the embedding {rows} rows",
            "resize the embedding to the tokenizer before training, or restore the tokenizer that the model came with",
            found=f"id {max(ids)}",
        )


def _is_mapping(files: _Files) -> bool:
    return isinstance(files.tokenizer.get("model", {}).get("vocab"), dict)


def _template(files: _Files) -> Iterator[DoctorFinding]:
    """The reward is read at the last token: where that is no EOS, every consumer must know it."""
    eos, template, name = _token(files.tokenizer_config.get("eos_token")), "", "tokenizer_config.json"
    if (path := files.folder / "chat_template.jinja").is_file():
        template, name = path.read_text(encoding="utf-8", errors="replace"), path.name
    elif isinstance(stored := files.tokenizer_config.get("chat_template"), str):
        template = stored
    if not (eos and template and (files.is_reward_model or files.adapter)):
        return
    ending = ends_with_eos(template, eos, bos=_token(files.tokenizer_config.get("bos_token")) or "")
    if ending is not None:
        yield _finding(
            files,
            "checkpoint-template-eos",
            name,
            f"a full conversation does not end with {eos}: the reward is read at another token",
            "run rewardsmith export --to hf, which saves a template that ends with EOS",
            found=f"ends with {ending!r}",
            severity="warning",
        )


def ends_with_eos(template: str, eos: str, *, bos: str) -> str | None:
    """What a conversation ends with if that is not EOS; None if it is, or if the template needs more than messages.

    The template is rendered under limits, without a tokenizer (`rendering.sandbox`).
    """
    try:
        (rendered,) = run_template(template, {"eos_token": eos, "bos_token": bos}, [_CONVERSATION])
    except RenderingError:  # it passed its limits again and again
        return None
    # What a template raises, a program of its own, says nothing of its end.
    return None if isinstance(rendered, Exception) or rendered.endswith(eos) else rendered[-_SHOWN:]


def _rope(files: _Files) -> Iterator[DoctorFinding]:
    """transformers 4 knows no `rope_parameters`: it takes its defaults, and rewards are others without a word."""
    found = list(gaps(files.config))
    stated = [gap for gap in found if gap.stated]
    if stated:
        yield _finding(
            files,
            "checkpoint-rope-differs",
            "config.json",
            "the settings of the rotary positions stand there twice and differ: what is read depends on the version of "
            f"transformers ({'; '.join(map(str, stated))})",
            "write the values that the model was trained with under both names; the base model's config.json has them",
            found=", ".join(gap.name for gap in stated),
        )
    elif found:
        yield _finding(
            files,
            "checkpoint-rope-spelling",
            "config.json",
            "transformers 4 does not know rope_parameters and gives other rewards: it reads "
            f"{'; '.join(map(str, found))}",
            "write the old names beside it: rewardsmith doctor DIR --fix, or rewardsmith export --to hf",
            found="rope_parameters without the names of transformers 4",
            severity="error" if files.is_reward_model else "warning",
            fixable=True,
        )


def _tokenizer_names(files: _Files) -> Iterator[DoctorFinding]:
    """Names that only transformers 5 writes; version 4 ends with an error at each."""
    if tokenizer_for_both(files.tokenizer_config) == files.tokenizer_config:
        return
    names = [name for name in ("tokenizer_class", "extra_special_tokens") if _only_new(files.tokenizer_config, name)]
    yield _finding(
        files,
        "checkpoint-tokenizer-spelling",
        "tokenizer_config.json",
        "AutoTokenizer of transformers 4 cannot read it: it knows no class TokenizersBackend and takes "
        "extra_special_tokens for a dictionary",
        "write PreTrainedTokenizerFast and additional_special_tokens, which both read: rewardsmith doctor DIR --fix",
        found=", ".join(names),
        severity="warning",
        fixable=True,
    )


def _only_new(config: dict[str, Any], name: str) -> bool:
    return name in config and tokenizer_for_both(config).get(name) != config[name]


def checkpoint_fixes(folder: Path) -> Iterator[Fixed]:
    """The files of a folder that transformers 4 reads otherwise, with the names of both versions in them.

    A configuration whose two spellings differ is left alone: which one is right, only its author knows.
    """
    files = _Files(folder)
    wanted = {finding.file for check in (_rope, _tokenizer_names) for finding in check(files) if finding.fixable}
    for name, both in SPELLERS.items():
        path = folder / name
        if str(path) in wanted:
            before = path.read_text(encoding="utf-8")
            yield Fixed(path, before, respelled(before, both))


def _remote_code(files: _Files) -> Iterator[DoctorFinding]:
    """OpenRLHF always runs code from the repository of a model."""
    if files.config.get("auto_map"):
        yield _finding(
            files,
            "checkpoint-remote-code",
            "config.json",
            "the model brings code of its own: rewardsmith refuses to run it, and OpenRLHF always does",
            "use a model whose architecture transformers has",
            found="auto_map",
            severity="note",
        )


def _older_version(files: _Files) -> Iterator[DoctorFinding]:
    """Faults known of the version of Rewardsmith that made it; the spelling is a finding of its own."""
    for fault in known_faults(files.folder):
        if fault.code != "one-spelling":
            yield _finding(
                files,
                f"checkpoint-{fault.code}",
                "rewardsmith.json",
                f"made by Rewardsmith {fault.version}: {fault.said}",
                fault.fix,
                found=fault.code.replace("-", " "),
                severity="error"
                if fault.certain and fault.code == "base-weights"
                else "warning"
                if fault.certain
                else "note",
            )


CHECKS: tuple[Callable[[_Files], Iterator[DoctorFinding]], ...] = (
    _adapter_head,
    _model_head,
    _finite,
    _settings,
    _tokenizer_pad,
    _vocabulary,
    _template,
    _rope,
    _tokenizer_names,
    _older_version,
    _remote_code,
)


def _eos_id(files: _Files) -> int | None:
    """Of several EOS ids the one of the tokenizer's EOS token, else the first."""
    eos = files.text_setting("eos_token_id")
    token = _token(files.tokenizer_config.get("eos_token"))
    entries = files.tokenizer.get("added_tokens") or ()
    named: dict[str | None, int] = {entry.get("content"): entry.get("id") for entry in entries}
    if token in named:
        return named[token]
    return eos[0] if isinstance(eos, list) and eos else eos if isinstance(eos, int) else None


def _token(stored: Any) -> str | None:
    """A special token as text, or as an entry with its content."""
    text = stored.get("content") if isinstance(stored, dict) else stored
    return text if isinstance(text, str) else None


def _finding(
    files: _Files,
    rule: str,
    name: str,
    problem: str,
    fix: str,
    *,
    found: str = "",
    severity: str = "error",
    fixable: bool = False,
) -> DoctorFinding:
    return DoctorFinding.model_validate(
        {
            "rule": rule,
            "severity": severity if rule != "checkpoint-unreadable" else "warning",
            "found": found or name,
            "problem": problem,
            "fix": fix or "restore the file, or save the model again",
            "file": str(files.folder / name),
            "fixable": fixable,
        }
    )
