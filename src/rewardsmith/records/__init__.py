"""The versioned JSON that passes between stages, into the run directory and into the report.

Each record is a frozen pydantic model that is written with `files.write_json` and read back with `files.read_record`.
`schema` counts breaking changes. Numbers are raw: rounding is the report's business. NaN and infinity never reach a
file (`null` does). The docstring under a field says what it is, its unit and when it is null; docs/records.md and
docs/results.schema.json are made of them. Import a record from its own module: a command loads only those it needs.

    files.py       the base of all records; reading, writing, and what may be replaced on disk
    bounded.py     JSON, YAML and gzip of others, read within limits
    checks.py      check    → CheckRecord: check.json; RejectedRow: rejected.jsonl; FixRecord: fix.json
    data.py, texts.py      its sections
    training.py    train    → TrainRecord: train/summary.json; StepMetrics: train/metrics.jsonl
                   run      → LabelNoiseRecord: label_noise.json; ReplicasRecord: replicas.json;
                              LearningCurveRecord: learning_curve.json; ControlsRecord: controls.json
    checkpoint.py  train, average → CheckpointRecord: rewardsmith.json; export → ExportRecord; verify → VerifyRecord;
                   score → BulkRecord; explain → ExplainRecord
    evaluation.py  evaluate → BenchmarkResult: eval/BENCHMARK/results.json; RowResult: rows.jsonl; OodRecord: ood.json
    diagnosis.py   run      → DiagnosisRecord: diagnosis.json; Diagnosis: a section of results.json
    probes.py      probe    → ProbesRecord: probes.json; PolicySamplesRecord: policy_samples.json
    attack.py      attack   → AttackRecord: attack.json
    run.py         run      → GatesRecord: gates.json; Manifest: manifest.json; LiveRecord, TrackersRecord;
                   run --dry-run → DryRunRecord; ls → RunsRecord; push → PushRecord
    comparison.py  compare  → ComparisonRecord: comparison.json
    plan.py        plan     → PlanRecord: plan.json
    judging.py     judge    → JudgeRecord: judge.json
    routing.py     route    → RoutingRecord: routing.json; AuditHeader, AuditEntry: the audit log; RouteRow
    doctor.py      doctor   → DoctorRecord
"""
