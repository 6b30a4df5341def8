"""The versioned JSON that passes between stages, into the run directory and into the report.

Each record is a frozen pydantic model that is written with `write_json` and read back with `read_record`. `schema`
counts breaking changes. Numbers are raw: rounding is the report's business. NaN and infinity never reach a
file (`null` does).

    check    → CheckRecord      check.json, rejected.jsonl (one RejectedRow a line); FixRecord: fix.json
    train    → TrainRecord      train/summary.json, train/metrics.jsonl (one StepMetrics a line)
             → LabelNoiseRecord label_noise.json
    evaluate → BenchmarkResult  eval/BENCHMARK/results.json, rows.jsonl (one RowResult a line)
    probe    → ProbesRecord     probes.json; PolicySamplesRecord: policy_samples.json
    gates    → GatesRecord      gates.json; OodRecord: ood.json
    compare  → ComparisonRecord comparison.json
    plan     → PlanRecord       plan.json
    score    → BulkRecord
    verify   → VerifyRecord     verify.json
    doctor   → DoctorRecord     printed
    judge    → JudgeRecord      judge.json
    route    → RoutingRecord   routing.json; the audit log: AuditHeader, AuditEntry; its rows: RouteRow
    export   → ExportRecord     printed; average → CheckpointRecord: rewardsmith.json
    push     → PushRecord       printed; ls → RunsRecord: printed
    run      → DryRunRecord     printed by --dry-run
    pipeline → Manifest         manifest.json; LiveRecord: live.json, while it works
             → TrackersRecord   trackers.json
             → ReplicasRecord   replicas.json; LearningCurveRecord: learning_curve.json

`reference.py` writes docs/records.md of them, in the words of `schema_words.py`.
"""

from rewardsmith.records.analysis import (
    Analysis,
    BestOfNCurve,
    BestOfNPoint,
    Calibration,
    LabelAgreement,
    LengthBias,
    LengthCalibrated,
    OodRecord,
    OodRow,
    PairShare,
    ReliabilityPoint,
    RewardFlag,
    SideSummary,
    WithinPrompt,
)
from rewardsmith.records.bulk import BulkRecord, BulkState
from rewardsmith.records.checkpoint import CheckpointRecord, GoldenReward, ParentCheckpoint
from rewardsmith.records.checks import (
    CheckRecord,
    ExampleRow,
    Finding,
    FixRecord,
    RejectedRow,
    RenderingRecord,
    Severity,
    ShownRow,
    SourceCount,
)
from rewardsmith.records.comparison import (
    BenchmarkComparison,
    ComparedModel,
    ComparisonRecord,
    DifferenceResult,
    FlippedRow,
    OverallComparison,
    PairComparison,
    RankedModel,
    SubsetComparison,
)
from rewardsmith.records.data_balance import (
    DataBalance,
    Languages,
    LanguageShare,
    ModelRate,
    Models,
    NamedCount,
    NamedCounts,
    PromptReuse,
    SourceAgreement,
    SourceForms,
)
from rewardsmith.records.data_labels import DataLabels, MarginSummary, PreferenceCycle
from rewardsmith.records.data_overlap import (
    BenchmarkOverlap,
    ClusterExample,
    ClusterSizes,
    ContaminatedRow,
    ContaminationRecord,
    OverlapRecord,
)
from rewardsmith.records.data_private import DataPrivate, PrivateKind
from rewardsmith.records.data_shortcuts import (
    BlindModel,
    Estimate,
    FeatureRule,
    Grade,
    GroupRules,
    LengthRule,
    LengthRuleBin,
    LoneRule,
    ShortcutsRecord,
    SourceAccuracy,
    WordRule,
)
from rewardsmith.records.data_tokens import (
    LengthBin,
    LengthPolicy,
    LimitEffect,
    MarkerCount,
    PrefixStability,
    TextEnd,
    TokenSummary,
    TokenWaste,
    UnknownTokens,
)
from rewardsmith.records.doctor import DoctorFinding, DoctorRecord, InstalledPackage, UnreadableFile
from rewardsmith.records.dry_run import DryRunRecord, DryRunStage, StageState
from rewardsmith.records.evaluation import (
    UNKNOWN,
    BenchmarkResult,
    DatasetInfo,
    RewardSummary,
    RowResult,
    SubsetResult,
    reason_code,
    reasons_in_words,
)
from rewardsmith.records.explain import ExplainedText, ExplainedToken, ExplainRecord
from rewardsmith.records.export import ExportRecord
from rewardsmith.records.files import (
    Record,
    guard_files,
    guard_folder,
    guard_removal,
    read_jsonl,
    read_record,
    read_row,
    remove,
    to_json,
    write_json,
    write_jsonl,
    write_lines,
    write_text,
)
from rewardsmith.records.judging import (
    InjectionProbe,
    JudgeCost,
    JudgeProtocol,
    JudgeRecord,
    JudgeSettings,
    PromptFile,
    ReplyCounts,
    ShareWithInterval,
)
from rewardsmith.records.label_noise import LabelNoiseRecord, NoiseBand, NoiseShare, SuspectLabel
from rewardsmith.records.listing import RunsRecord, RunSummary
from rewardsmith.records.live import LiveRecord
from rewardsmith.records.plan import PlanRecord
from rewardsmith.records.probes import (
    PolicyLabels,
    PolicySamplesRecord,
    ProbeExample,
    ProbeResult,
    ProbesRecord,
    ProbeVerdict,
)
from rewardsmith.records.publishing import PushedFile, PushRecord
from rewardsmith.records.replicas import (
    CurvePoint,
    CurveScore,
    CurveSlope,
    LearningCurveRecord,
    ReplicasRecord,
    SeedSpread,
)
from rewardsmith.records.routing import (
    AuditEntry,
    AuditHeader,
    LoggedOpinion,
    LoggedRule,
    LoggedVerdict,
    ReplayRecord,
    RoutedScore,
    RouteJudge,
    RoutePoint,
    RouteRow,
    RouteRunRecord,
    RouteTarget,
    RouteVerdict,
    RoutingRecord,
)
from rewardsmith.records.run import GateOutcome, GatesRecord, Manifest, StageRecord
from rewardsmith.records.trackers import TrackersRecord, TrackerState
from rewardsmith.records.training import LeftOutPair, MonitorRecord, StepMetrics, SuspectPair, TrainRecord, TrendTest
from rewardsmith.records.verify import FileFinding, PathName, PathResult, VerifyRecord

__all__ = [
    "UNKNOWN",
    "Analysis",
    "AuditEntry",
    "AuditHeader",
    "BenchmarkComparison",
    "BenchmarkOverlap",
    "BenchmarkResult",
    "BestOfNCurve",
    "BestOfNPoint",
    "BlindModel",
    "BulkRecord",
    "BulkState",
    "Calibration",
    "CheckRecord",
    "CheckpointRecord",
    "ClusterExample",
    "ClusterSizes",
    "ComparedModel",
    "ComparisonRecord",
    "ContaminatedRow",
    "ContaminationRecord",
    "CurvePoint",
    "CurveScore",
    "CurveSlope",
    "DataBalance",
    "DataLabels",
    "DataPrivate",
    "DatasetInfo",
    "DifferenceResult",
    "DoctorFinding",
    "DoctorRecord",
    "DryRunRecord",
    "DryRunStage",
    "Estimate",
    "ExampleRow",
    "ExplainRecord",
    "ExplainedText",
    "ExplainedToken",
    "ExportRecord",
    "FeatureRule",
    "FileFinding",
    "Finding",
    "FixRecord",
    "FlippedRow",
    "GateOutcome",
    "GatesRecord",
    "GoldenReward",
    "Grade",
    "GroupRules",
    "InjectionProbe",
    "InstalledPackage",
    "JudgeCost",
    "JudgeProtocol",
    "JudgeRecord",
    "JudgeSettings",
    "LabelAgreement",
    "LabelNoiseRecord",
    "LanguageShare",
    "Languages",
    "LearningCurveRecord",
    "LeftOutPair",
    "LengthBias",
    "LengthBin",
    "LengthCalibrated",
    "LengthPolicy",
    "LengthRule",
    "LengthRuleBin",
    "LimitEffect",
    "LiveRecord",
    "LoggedOpinion",
    "LoggedRule",
    "LoggedVerdict",
    "LoneRule",
    "Manifest",
    "MarginSummary",
    "MarkerCount",
    "ModelRate",
    "Models",
    "MonitorRecord",
    "NamedCount",
    "NamedCounts",
    "NoiseBand",
    "NoiseShare",
    "OodRecord",
    "OodRow",
    "OverallComparison",
    "OverlapRecord",
    "PairComparison",
    "PairShare",
    "ParentCheckpoint",
    "PathName",
    "PathResult",
    "PlanRecord",
    "PolicyLabels",
    "PolicySamplesRecord",
    "PreferenceCycle",
    "PrefixStability",
    "PrivateKind",
    "ProbeExample",
    "ProbeResult",
    "ProbeVerdict",
    "ProbesRecord",
    "PromptFile",
    "PromptReuse",
    "PushRecord",
    "PushedFile",
    "RankedModel",
    "Record",
    "RejectedRow",
    "ReliabilityPoint",
    "RenderingRecord",
    "ReplayRecord",
    "ReplicasRecord",
    "ReplyCounts",
    "RewardFlag",
    "RewardSummary",
    "RouteJudge",
    "RoutePoint",
    "RouteRow",
    "RouteRunRecord",
    "RouteTarget",
    "RouteVerdict",
    "RoutedScore",
    "RoutingRecord",
    "RowResult",
    "RunSummary",
    "RunsRecord",
    "SeedSpread",
    "Severity",
    "ShareWithInterval",
    "ShortcutsRecord",
    "ShownRow",
    "SideSummary",
    "SourceAccuracy",
    "SourceAgreement",
    "SourceCount",
    "SourceForms",
    "StageRecord",
    "StageState",
    "StepMetrics",
    "SubsetComparison",
    "SubsetResult",
    "SuspectLabel",
    "SuspectPair",
    "TextEnd",
    "TokenSummary",
    "TokenWaste",
    "TrackerState",
    "TrackersRecord",
    "TrainRecord",
    "TrendTest",
    "UnknownTokens",
    "UnreadableFile",
    "VerifyRecord",
    "WithinPrompt",
    "WordRule",
    "guard_files",
    "guard_folder",
    "guard_removal",
    "read_jsonl",
    "read_record",
    "read_row",
    "reason_code",
    "reasons_in_words",
    "remove",
    "to_json",
    "write_json",
    "write_jsonl",
    "write_lines",
    "write_text",
]
