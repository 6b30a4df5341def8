"""The spec: one YAML file that says everything, as a tree of pydantic models. Reads no weights and loads no torch.

section.py       what sections share; types that carry a rule and its reason
architecture.py  base model, adapter, policy, hardware
data.py          sources, held-out pairs, length policy; forms.py: how a source writes its preferences
training.py      one epoch of Bradley-Terry, margin monitor, the OpenRLHF backend
evaluation.py    benchmarks, probes, gates, export
judging.py       the judge: endpoint, budget, prompts; the router: rules, target, budget, breaker
tree.py          the root and its fingerprint; the commented spec that `rewardsmith init` writes
loading.py       YAML and `--set`; errors with line, reason, did-you-mean
"""

from rewardsmith.spec.architecture import (
    AdapterSpec,
    BaseModelSpec,
    HardwareSpec,
    LoraAdapter,
    NoAdapter,
    PolicySpec,
    QloraAdapter,
    compare_sizes,
)
from rewardsmith.spec.data import DataSpec, HeldOutSpec, SourceSpec
from rewardsmith.spec.evaluation import (
    BenchmarkSpec,
    EvaluationSpec,
    ExportSpec,
    GatesSpec,
    OodSpec,
    SpreadGate,
)
from rewardsmith.spec.judging import (
    IntervalRule,
    JudgeBudget,
    JudgePrices,
    JudgePrompts,
    JudgeSpec,
    RoutingSpec,
    SubsetRule,
)
from rewardsmith.spec.loading import default_spec, dump_spec, load_spec, parse_spec
from rewardsmith.spec.training import MonitorSpec, OpenRLHFSpec, TrainingSpec
from rewardsmith.spec.tree import Spec, digest, with_controls

__all__ = [
    "AdapterSpec",
    "BaseModelSpec",
    "BenchmarkSpec",
    "DataSpec",
    "EvaluationSpec",
    "ExportSpec",
    "GatesSpec",
    "HardwareSpec",
    "HeldOutSpec",
    "IntervalRule",
    "JudgeBudget",
    "JudgePrices",
    "JudgePrompts",
    "JudgeSpec",
    "LoraAdapter",
    "MonitorSpec",
    "NoAdapter",
    "OodSpec",
    "OpenRLHFSpec",
    "PolicySpec",
    "QloraAdapter",
    "RoutingSpec",
    "SourceSpec",
    "Spec",
    "SpreadGate",
    "SubsetRule",
    "TrainingSpec",
    "compare_sizes",
    "default_spec",
    "digest",
    "dump_spec",
    "load_spec",
    "parse_spec",
    "with_controls",
]
