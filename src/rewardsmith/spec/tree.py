"""The spec as a whole: its root, its fingerprint, and the commented file that `rewardsmith init` writes.

    spec = load_spec(Path("spec.yaml"), ["training.learning_rate=2e-5"])
    spec.fingerprint()                 # of everything that decides the result
    starter_spec(name="helpful", base_model={"id": "Qwen/Qwen3-0.6B"})      # every other field with its default
    commented(spec)                                                         # any spec in the same form

The fingerprint leaves out the run's name and folder and what only changes speed or memory (`_NOT_RESULTS`). The
commented file has every field with its value, and what it means beside it: the comments are the descriptions of the
models, so that they cannot fall behind them.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator
from functools import reduce
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo

from rewardsmith.spec.architecture import (
    AdapterSpec,
    BaseModelSpec,
    HardwareSpec,
    NoAdapter,
    PolicySpec,
    QloraAdapter,
    compare_sizes,
)
from rewardsmith.spec.data import DataSpec
from rewardsmith.spec.evaluation import (
    ATTACK_SECONDS,
    CONTROLS_SHARE,
    AttackSpec,
    ControlsSpec,
    EvaluationSpec,
    ExportSpec,
    LengthGate,
)
from rewardsmith.spec.judging import JudgeSpec, RoutingSpec
from rewardsmith.spec.section import NAME_PATTERN, Refusal, Section
from rewardsmith.spec.training import OpenRLHFSpec, TrainingSpec


class ReportSpec(Section):
    """The report of a run: `report.html` and `summary.md`."""

    texts: bool = True
    """Whether prompts and responses stand in the report. `false` leaves all out, quotes too; ids and numbers stay."""


TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]


def one_or_several(value: Any) -> Any:
    """A single name stands for a list of one, as `--set report_to=wandb` gives it."""
    return (value,) if isinstance(value, str) else value


class Spec(Section):
    """One file says everything: data, models, training, evaluation, gates, export."""

    name: str = Field("run", pattern=NAME_PATTERN)
    """Folder of the run under `output_dir`."""
    output_dir: str = Field("runs", min_length=1)
    """Folder in which runs are kept."""
    seed: int = Field(17, ge=0, le=2**32 - 1)
    """Seed of everything that is drawn, unless a section has its own."""
    backend: Literal["trl", "openrlhf", "auto"] = "auto"
    """What trains. `auto` takes TRL where the model fits this node."""
    report_to: Annotated[tuple[TrackerName, ...], BeforeValidator(one_or_several)] = ()
    """Trackers that are told each step, the scores and the gates: tensorboard, trackio, wandb, mlflow. Empty: none."""
    base_model: BaseModelSpec = Field(default_factory=BaseModelSpec)
    adapter: AdapterSpec = Field(default_factory=NoAdapter)
    policy: PolicySpec = Field(default_factory=PolicySpec)
    hardware: HardwareSpec = Field(default_factory=HardwareSpec)
    data: DataSpec = Field(default_factory=DataSpec)
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    openrlhf: OpenRLHFSpec = Field(default_factory=OpenRLHFSpec)
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec)
    export: ExportSpec = Field(default_factory=ExportSpec)
    report: ReportSpec = Field(default_factory=ReportSpec)
    judge: JudgeSpec = Field(default_factory=JudgeSpec)
    routing: RoutingSpec = Field(default_factory=RoutingSpec)

    @model_validator(mode="after")
    def _base_not_larger_than_policy(self) -> Spec:
        reason = compare_sizes(self.base_model.parameters, self.policy.parameters)
        if reason:
            problem, _, fix = reason.rpartition(". ")
            raise Refusal(problem, fix[0].lower() + fix[1:], field=("base_model", "parameters"))
        return self

    @model_validator(mode="after")
    def _qlora_has_its_device(self) -> Spec:
        if isinstance(self.adapter, QloraAdapter) and self.hardware.device not in ("auto", "cuda"):
            raise Refusal(
                f"{self.hardware.device!r} cannot hold a base in 4 bits, which adapter.kind: qlora asks for",
                "write cuda or auto, or choose adapter.kind: lora",
                field=("hardware", "device"),
            )
        return self

    @property
    def training_seed(self) -> int:
        """Seed of the run's own model: the first of `training.seeds`, else `training.seed`, else the spec's."""
        if self.training.seeds:
            return self.training.seeds[0]
        return self.seed if self.training.seed is None else self.training.seed

    def fingerprint(self, *sections: str) -> str:
        """SHA-256 of the spec, or of the named sections, as canonical JSON."""
        content = self._as_before()
        return digest({key: content[key] for key in sections} if sections else content)

    def attack_as_before(self) -> Any:
        """What `evaluation.attack` says, without the fields that came later and say what was done before."""
        stated = self.evaluation.attack.model_dump(mode="json")
        return {name: value for name, value in stated.items() if _LATER_IN_ATTACKS.get(name, ...) != value}

    def _as_before(self) -> dict[str, Any]:
        """What decides a result, as an older version would have written it."""
        content = self.model_dump(mode="json", exclude=_NOT_RESULTS)
        for sections_above, fields in _AS_BEFORE.items():
            section = reduce(dict.__getitem__, sections_above, content)
            for name, value in fields.items():
                if section[name] == value:
                    del section[name]
        for source in (*content["data"]["train"], *content["data"]["held_out"]["sources"]):
            form = source["form"]
            for name, value in _FORMS_AS_BEFORE.get(form["kind"], {}).items():
                if form[name] == value:
                    del form[name]
        for sections_above, respelt in _SPELT_BEFORE.items():
            section = reduce(dict.__getitem__, sections_above, content)
            for name, (now, before) in respelt.items():
                section[name] = before if section[name] == now else section[name]
        return content


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


_NOT_RESULTS: Any = {
    "name": True,
    "output_dir": True,
    "report": True,
    "report_to": True,
    "routing": True,
    "hardware": {
        "nodes",
        "devices_per_node",
        "memory_gib",
        "workers",
        "sharding",
        "ray_address",
        "shared_storage",
        "restarts",
    },
    "training": {"checkpoint_every_steps"},
    "openrlhf": {"interpreter", "launcher", "hostfile", "port", "slurm_options"},
    "evaluation": {"tokens_per_batch"},
    "judge": {"concurrency", "call_deadline", "deadline", "retries", "backoff", "max_wait", "budget", "key_variable"},
}

_LATER_IN_ATTACKS: Any = {"beam": 2, "branch": 6, "seconds": ATTACK_SECONDS, "tokens": 0, "fluency": None}
"""An attack had no limit of seconds before: what it found is what one within the default limit finds, or more."""

_AS_BEFORE: dict[tuple[str, ...], dict[str, Any]] = {
    ("base_model",): {"head": "keep"},
    ("evaluation", "attack"): _LATER_IN_ATTACKS,
    ("evaluation",): {
        "attack": AttackSpec().model_dump(mode="json", exclude=set(_LATER_IN_ATTACKS)),
        "controls": ControlsSpec().model_dump(mode="json"),
    },
    ("evaluation", "gates"): {"maximum_flipped": None, "length": LengthGate().model_dump(mode="json")},
}
"""Fields that came later, by their section, each with the value that means what was done before: a fingerprint at that
value stays what it was, so that runs of an older version still belong to their spec. Inner sections come first."""

_FORMS_AS_BEFORE: dict[str, dict[str, Any]] = {"list": {"rankings": None}}
"""The same for the `form` of each source, by its kind."""

_SPELT_BEFORE: dict[tuple[str, ...], dict[str, tuple[Any, Any]]] = {
    ("training",): {"tokens_per_micro_batch": ("auto", None)},
}
"""Values that are spelt otherwise now, as (now, before): a fingerprint has the older spelling, for the same reason."""


def with_controls(spec: Spec) -> Spec:
    """The spec with negative controls on `CONTROLS_SHARE` of the prompts, unless it asks for some already."""
    if spec.evaluation.controls.share:
        return spec
    wanted = spec.evaluation.model_copy(update={"controls": ControlsSpec(share=CONTROLS_SHARE)})
    return spec.model_copy(update={"evaluation": wanted})


_HEADER = """\
# A Rewardsmith spec: one file says everything. Lines that stay as they are may be deleted: they are the defaults.
#
#   rewardsmith check SPEC    looks at the data, before any accelerator time is spent
#   rewardsmith run SPEC      check, train, evaluate, gates, report
"""
_WIDTH = 120
_FARTHEST_COMMENT = 48

Line = tuple[str, str]
"""YAML without a comment, and the comment that stands beside it."""


def starter_spec(**choices: Any) -> str:
    """A commented spec to start from: the defaults, with `choices` (fields of the root) in their place.

    Raises:
        pydantic.ValidationError: a choice breaks a rule of the spec.
    """
    return commented(Spec.model_validate(choices))


def commented(spec: Spec) -> str:
    """Any spec as YAML with every field and its meaning; `load_spec` reads the same spec back."""
    scalars = [name for name in Spec.model_fields if not isinstance(getattr(spec, name), Section)]
    blocks = [_HEADER, _aligned(list(_fields(spec, scalars, "")))]
    for name in Spec.model_fields:
        section = getattr(spec, name)
        if isinstance(section, Section):
            lines = list(_fields(section, list(type(section).model_fields), "  "))
            blocks.append(f"{_above(name, section)}{name}:\n{_aligned(lines)}")
    return "\n".join(blocks)


def _above(name: str, section: Section) -> str:
    """What stands above a section: its meaning, or one line for each kind that it may be."""
    kinds = get_args(Spec.model_fields[name].annotation)
    texts = [f"{kind.model_fields['kind'].default}: {kind.__doc__}" for kind in kinds] or [str(section.__doc__)]
    return "".join(f"# {line}\n" for text in texts for line in textwrap.wrap(text, _WIDTH - 2))


def _fields(section: Section, names: list[str], pad: str) -> Iterator[Line]:
    for name in names:
        field, value = type(section).model_fields[name], getattr(section, name)
        if isinstance(value, Section):
            yield f"{pad}{name}:", str(value.__doc__)
            yield from _fields(value, list(type(value).model_fields), f"{pad}  ")
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            yield f"{pad}{name}:", str(field.description)
            for item in value:
                yield f"{pad}  - {_flow(_stated(item))}", ""
        else:
            yield f"{pad}{name}: {_flow(value)}", f"{field.description}{_choices(field)}"


def _stated(item: Section) -> dict[str, Any]:
    """What was written of an entry of a list, and its kind, without which it cannot be read."""
    kind = {"kind": item.kind} if "kind" in type(item).model_fields else {}  # type: ignore[attr-defined]
    return {**kind, **item.model_dump(mode="json", exclude_unset=True)}


def _choices(field: FieldInfo) -> str:
    """The values of a field that has a few, unless its description names them already."""
    values = [str(value) for value in get_args(field.annotation)] if get_origin(field.annotation) is Literal else []
    unnamed = len(values) > 1 and not all(value in str(field.description) for value in values)
    return f" One of {', '.join(values)}." if unnamed else ""


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def _aligned(lines: list[Line]) -> str:
    """Comments beside their lines, in one column, wrapped; above the line where it is too long for that."""
    beside = [len(code) + 2 for code, comment in lines if comment]
    column = max((width for width in beside if width <= _FARTHEST_COMMENT), default=0)
    text = ""
    for code, comment in lines:
        parts = textwrap.wrap(comment, _WIDTH - column - 2)
        if len(code) + 2 > column and parts:
            pad = code[: len(code) - len(code.lstrip())]
            text += "".join(f"{pad}# {part}\n" for part in parts) + f"{code}\n"
            continue
        first = f"{code:<{column}}# {parts[0]}" if parts else code
        text += first + "\n" + "".join(f"{' ' * column}# {part}\n" for part in parts[1:])
    return text
