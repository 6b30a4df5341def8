"""The flight check: forward, backward, save, reload and compare on two pairs, before anything long is begun.

    flown = fly(spec, base, renderer)        # raises what would otherwise be raised after the epoch
    flown.said                               # "flight check: … agree, on a copy of 12,345,678 parameters (2.1 s)"

A small base flies itself. Of a large one a copy flies: its configuration with two layers (one of each kind), few heads
and experts and random weights, on the CPU. Faults of an architecture, an adapter, a tokenizer or a template show in the
copy as they do in the whole; faults of the weights show when they are loaded. What a copy cannot do in a plain forward
may be a fault of the copy, so another is tried, and none refuses for that reason alone.
"""

from __future__ import annotations

import copy
import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

import rewardsmith
from rewardsmith.errors import ModelError, RewardsmithError
from rewardsmith.modeling.checkpoint import golden_conversations, open_checkpoint, save_checkpoint
from rewardsmith.modeling.inference import compute_rewards
from rewardsmith.modeling.layouts import PairIds, choose_layout
from rewardsmith.modeling.loading import load_base, one_label_config
from rewardsmith.modeling.paths import alone
from rewardsmith.modeling.quiet import quiet_upstream
from rewardsmith.modeling.shapes import refuse_rank, shape_of
from rewardsmith.records.checkpoint import CheckpointRecord
from rewardsmith.rendering import Ids, Renderer
from rewardsmith.spec import LoraAdapter, NoAdapter, QloraAdapter, Spec

REAL = 30_000_000
"""Parameters up to which the base itself flies."""
LARGEST_COPY = 60_000_000
TOLERANCE = 1e-4
"""Of rewards, relative to the largest where that is above 1."""
STEP = 1e-3
"""Learning rate of the one step: large enough that a weight that is not saved is seen."""

# Families name one thing differently; of each tuple a configuration has one, or a few that agree.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim", "emb_dim")
_INNER = ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "d_inner", "hidden_dim", "moe_intermediate_size", "dff")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class Flown:
    """What was flown: parameters of the model, whether it was the base itself, seconds; `why` nothing was."""

    parameters: int
    itself: bool
    seconds: float
    why: str = ""

    @property
    def said(self) -> str:
        """One line."""
        if self.why:
            return f"no flight check: {self.why}"
        what = "the base" if self.itself else f"a copy of {self.parameters:,} parameters"
        return f"flight check: forward, backward, save and reload of two pairs agree, on {what} ({self.seconds:.1f} s)"


def fly(spec: Spec, base: str, renderer: Renderer) -> Flown:
    """Try everything that training will do once, on two pairs.

    Args:
        base: folder or hub id that `spec.base_model` resolves to.
        renderer: of the base, as training will use it.

    Raises:
        SpecError: an adapter of more rank than the base's matrices.
        ModelError: what the base, the adapter, the tokenizer or the template cannot do.
    """
    started = time.perf_counter()
    config = one_label_config(base, spec.base_model.revision)
    parameters = _count(config)
    if isinstance(spec.adapter, LoraAdapter):
        with suppress(ModelError):  # of a shape that cannot be counted nothing is known
            refuse_rank(spec.adapter, shape_of(copy.deepcopy(config)))
    with tempfile.TemporaryDirectory(prefix="rewardsmith-flight-") as name, _kept_random(), quiet_upstream():
        folder = Path(name)
        if parameters is not None and parameters <= REAL:
            _Trial(spec, base, renderer, folder).all()
            return Flown(parameters, True, time.perf_counter() - started)
        why = "no small copy of its configuration runs"
        for number, smaller in enumerate(_copies(config)):
            size = _count(smaller)
            if size is None or size > LARGEST_COPY:
                continue
            place = folder / f"copy-{number}"
            try:
                _write(smaller, place, renderer)
                trial = _Trial(spec, str(place), renderer, folder)
                trial.forward()
            except RewardsmithError as error:
                why = f"{why} ({error.problem})"
                continue
            except Exception as error:
                why = f"no small copy of its configuration runs ({_first_line(error)})"
                continue
            trial.rest()
            return Flown(size, False, time.perf_counter() - started)
    return Flown(0, False, time.perf_counter() - started, why)


class _Trial:
    """One model on its flight; `doing` is the part that an error is blamed on."""

    def __init__(self, spec: Spec, base: str, renderer: Renderer, folder: Path) -> None:
        adapter = spec.adapter
        if isinstance(adapter, QloraAdapter):  # four bits need a GPU, and its adapter stands where LoRA's does
            adapter = LoraAdapter(**adapter.model_dump(include=set(LoraAdapter.model_fields) - {"kind"}))
        place = spec.base_model.model_copy(update={"id": base, "attention": "auto"})
        if Path(base).is_dir():
            place = place.model_copy(update={"revision": None})
        self.spec = spec.model_copy(update={"base_model": place, "adapter": adapter})
        self.base, self.renderer, self.folder = base, renderer, folder
        self.texts = _texts(renderer)

    def all(self) -> None:
        """Everything; whatever upstream raises is said in one line."""
        with self._blamed("forward"):
            self.forward()
        self.rest()

    def forward(self) -> None:
        """Load it, and give each text its reward alone, in evaluation and as in training."""
        self.model = load_base(self.spec, self.base, self.renderer.tokenizer, seed=self.spec.training_seed).cpu()
        if self.spec.training.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
            if not isinstance(self.spec.adapter, NoAdapter):
                self.model.enable_input_require_grads()  # as TRL does: else nothing below the head has a gradient
        self.model.eval()
        self.before = alone(self.model, self.texts)

    def rest(self) -> None:
        """One step, and what becomes of its weights on the way through a folder."""
        self._refuse_apart(self.before, np.array(self.before), "forward")
        adapter = self.spec.adapter
        if isinstance(adapter, NoAdapter) or adapter.dropout == 0:
            with self._blamed("forward as in training"):
                training = self._in_training()
            what = "forward as in training, which should be that of evaluation,"
            # To the bit: only dropout tells training from evaluation, and all of it was set to 0.
            self._refuse_apart(training, self.before, what, tolerance=0.0)
        with self._blamed("choice of a layout"):
            layout = choose_layout(self.spec.training.layout, self.model, self.renderer.pad_token_id)
        with self._blamed("backward"):
            self._step(layout)
        with self._blamed("forward after a step"):
            self.model.eval()
            stepped = alone(self.model, self.texts)
            together = compute_rewards(self.model, self.texts, layout, token_budget=4096)
            again = alone(self.model, self.texts)
        self._refuse_apart(together, stepped, "forward of all texts together")
        self._refuse_apart(again, stepped, "forward of each text once more, after all together,")
        record = CheckpointRecord(
            rewardsmith_version=rewardsmith.__version__,
            base_model=self.base,
            rendering=self.renderer.record,
            data_fingerprints=(),
        )
        with self._blamed("save"):
            save_checkpoint(self.folder / "flown", self.model, self.renderer, record)
        with self._blamed("reload"):
            opened = open_checkpoint(self.folder / "flown")
            reloaded = alone(opened.model, self.texts)
        # With a floor: the rewards of a new head may all lie near 0.
        close = max(2e-6, TOLERANCE * float(np.abs(stepped).max())) if self._float32() else None
        self._refuse_apart(reloaded, stepped, "reload of the checkpoint", tolerance=close)

    def _in_training(self) -> NDArray[np.float64]:
        self.model.train()
        try:
            return alone(self.model, self.texts)
        finally:
            self.model.eval()

    def _step(self, layout: Any) -> None:
        self.model.train()
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        if not trained:
            raise ModelError("no weight is trained", where="adapter.target_modules", fix="write all-linear")
        if small := [weight for weight in trained if weight.dtype == torch.float16]:
            raise ModelError(
                f"{len(small)} weights would be trained in float16", where="base_model.dtype", fix="float32"
            )
        optimizer = torch.optim.AdamW(trained, lr=STEP)
        half = len(self.texts) // 2
        pairs = [PairIds(self.texts[index], self.texts[index + half]) for index in range(half)]
        for part in layout.cut(pairs, 4096):
            rewards = self.model(**part.inputs()).logits.squeeze(-1)
            chosen, rejected = rewards.chunk(2)
            (-torch.nn.functional.logsigmoid(chosen - rejected)).mean().backward()
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        if not gradients or not any(bool((one != 0).any()) for one in gradients):
            raise ModelError("no weight has a gradient", where="base_model.id", fix="choose another base or adapter")
        if not all(bool(torch.isfinite(one).all()) for one in gradients):
            raise ModelError("a gradient is not a number", where="base_model.id", fix="write base_model.dtype: float32")
        optimizer.step()
        self.model.zero_grad(set_to_none=True)

    def _refuse_apart(
        self, found: NDArray[np.float64], wanted: NDArray[np.float64], what: str, tolerance: float | None = None
    ) -> None:
        worst = float(np.abs(found - wanted).max())
        if tolerance is None:
            tolerance = (TOLERANCE if self._float32() else 0.05) * max(1.0, float(np.abs(wanted).max()))
        if not worst <= tolerance:
            said = (
                "gives rewards that are no numbers"
                if math.isnan(worst)
                else f"gives rewards that differ by {worst:.3g}"
            )
            raise ModelError(
                f"flight check: the {what} {said}. Nothing was trained",
                where=self._where(),
                fix="choose another base, or another adapter.kind; training.layout: padded where only the tree differs",
            )

    def _float32(self) -> bool:
        return all(weight.dtype == torch.float32 for weight in self.model.parameters())

    def _where(self) -> str:
        kind = self.spec.adapter.kind
        return "base_model.id" if kind == "none" else f"base_model.id with adapter.kind: {kind}"

    @contextmanager
    def _blamed(self, doing: str) -> Iterator[None]:
        """Our own refusals pass; what upstream raises becomes one line with a fix."""
        try:
            yield
        except RewardsmithError as error:
            if doing not in ("save", "reload"):  # those name a folder that is gone by then
                raise
            raise self._failed(doing, error.problem) from error
        except Exception as error:
            raise self._failed(doing, _first_line(error)) from error

    def _failed(self, doing: str, said: str) -> ModelError:
        return ModelError(
            f"flight check: the {doing} fails on two pairs: {said.rstrip('.')}. Nothing was trained",
            where=self._where(),
            fix="choose another base, or another adapter.kind",
        )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def _texts(renderer: Renderer) -> list[Ids]:
    """Four golden texts of different lengths; random tokens where the maximum length leaves fewer."""
    found = []
    for conversation in golden_conversations(renderer.record.conversational):
        try:
            (rendered,) = renderer.render_many([conversation])
        except RewardsmithError:
            continue
        if rendered.ids is not None:
            found.append(rendered.ids)
    if len(found) >= 4:
        return found[:2] + found[-2:]
    draw = np.random.default_rng(0)
    most = max(2, min(12, renderer.max_length))
    return [draw.integers(0, len(renderer.tokenizer), size).astype(np.int32) for size in (most, 2, most // 2 + 1, most)]


def _count(config: Any) -> int | None:
    """Parameters with a reward head; None where the model cannot be made."""
    try:
        with torch.device("meta"):
            skeleton = transformers.AutoModelForSequenceClassification.from_config(copy.deepcopy(config))
    except Exception:
        return None
    return sum(int(weight.numel()) for weight in skeleton.parameters())


def _write(config: Any, folder: Path, renderer: Renderer) -> None:
    """A base of this configuration with random weights, without a head, and the tokenizer."""
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    inner = getattr(model, model.base_model_prefix, model)
    inner.config.architectures = None
    inner.save_pretrained(folder)
    renderer.save(folder)


def _copies(config: Any) -> Iterator[Any]:
    """Ever less reduced configurations: thin with few layers; wide with few layers."""
    for thin in (True, False):
        content = copy.deepcopy(config.to_dict())
        nested = next((key for key in ("text_config", "decoder") if isinstance(content.get(key), dict)), None)
        _reduce(content if nested is None else content[nested], thin=thin)
        with suppress(Exception):  # a family with rules of its own: the next copy is closer to the original
            yield type(config).from_dict(content)


def _reduce(fields: dict[str, Any], *, thin: bool) -> None:
    """Fewer layers (one of each kind, two at least), experts and, where `thin`, heads and widths; in place."""
    layers = next((fields[name] for name in _LAYERS if isinstance(fields.get(name), int)), 2)
    kinds: list[str] = next((value for value in map(fields.get, ("layer_types", "layers_block_type")) if value), [])
    first = [kinds.index(kind) for kind in dict.fromkeys(kinds)]
    kept = sorted({*first, *range(min(2, layers))} if len(first) < 2 else first)
    for name, value in fields.items():
        if isinstance(value, list) and len(value) == layers > len(kept):
            fields[name] = [value[index] for index in kept]
    _put(fields, _LAYERS, len(kept))
    for name in _EXPERTS:
        if isinstance(fields.get(name), int) and fields[name] > 4:
            fields[name] = 4
    for name, most in (("num_experts_per_tok", 2), ("n_group", 1), ("topk_group", 1)):
        if isinstance(fields.get(name), int):
            fields[name] = min(fields[name], most)
    fields["dtype"] = None
    if thin:
        _thin(fields)


def _thin(fields: dict[str, Any]) -> None:
    heads = next((fields[name] for name in _HEADS if isinstance(fields.get(name), int)), None)
    width = next((fields[name] for name in _WIDTHS if isinstance(fields.get(name), int)), None)
    if heads is None or width is None:
        return
    keys = next((fields[name] for name in _KEY_HEADS if isinstance(fields.get(name), int)), heads)
    shared = math.gcd(heads, keys)
    shared = shared // 2 if shared == heads and heads % 2 == 0 else shared
    explicit = isinstance(fields.get("head_dim"), int)
    # The width of a head stays: positions are laid out over it, sometimes in lists.
    hidden = 64 if explicit else heads // shared * (width // heads)
    for name in _INNER:
        if isinstance(fields.get(name), int):
            fields[name] = 2 * hidden
    for names, value in ((_HEADS, heads // shared), (_KEY_HEADS, keys // shared), (_WIDTHS, hidden)):
        _put(fields, names, value)
    for name in ("word_embed_proj_dim", "embedding_size", "pooler_hidden_size"):
        if isinstance(fields.get(name), int):
            fields[name] = min(fields[name], hidden)


def _put(fields: dict[str, Any], names: Sequence[str], value: int) -> None:
    for name in names:
        if isinstance(fields.get(name), int):
            fields[name] = value


@contextmanager
def _kept_random() -> Iterator[None]:
    """Random states as they were: a flight must not change what is drawn after it."""
    python, arrays = random.getstate(), np.random.get_state()
    try:
        # The flight runs on the CPU: no generator of a GPU has to be kept.
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
