"""The root of the spec, and its fingerprint.

    spec = load_spec(Path("spec.yaml"), ["training.learning_rate=2e-5"])
    spec.fingerprint()                 # of everything that decides the result

The fingerprint leaves out the run's name and folder and what only changes speed or memory.

What the report of a run may show, and which trackers are told its numbers.
"""

from __future__ import annotations

import hashlib
import json
from functools import reduce
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

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
from rewardsmith.spec.evaluation import EvaluationSpec, ExportSpec
from rewardsmith.spec.judging import JudgeSpec
from rewardsmith.spec.probes import AttackSpec
from rewardsmith.spec.routing import RoutingSpec
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

_AS_BEFORE: dict[tuple[str, ...], dict[str, Any]] = {
    ("base_model",): {"head": "keep"},
    ("evaluation",): {"attack": AttackSpec().model_dump(mode="json")},
    ("evaluation", "gates"): {"maximum_flipped": None},
}
"""Fields that came later, by their section, each with the value that means what was done before: a fingerprint at that
value stays what it was, so that runs of an older version still belong to their spec."""


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
        content = self.model_dump(mode="json", exclude=_NOT_RESULTS)
        for sections_above, fields in _AS_BEFORE.items():
            section = reduce(dict.__getitem__, sections_above, content)
            for name, value in fields.items():
                if section[name] == value:
                    del section[name]
        return digest({key: content[key] for key in sections} if sections else content)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
