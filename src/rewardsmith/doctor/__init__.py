"""Installed versions that do not go together, upstream names that moved or were removed, and faults of checkpoints.

    applied = applied_rules(load_rules().rules, {"trl": "1.16.0"})
    for scanned in scan_paths([Path("train.py")], applied): scanned.hits
    for fixed in fixes(scanned_files, applied): print(fixed.diff)

rules.toml        what changed upstream, with versions and sources
rules.py          reads it; versions and requirements of an interpreter
scanning.py       files by kind → hits; edits of spans, as a diff
python.py         names in Python; shell.py: flags in commands
checkpoints.py    a model folder, from its files alone

No file here loads torch or transformers: an answer takes a fraction of a second.
"""

from rewardsmith.doctor.checkpoints import checkpoint_findings, checkpoint_fixes, is_checkpoint, is_reward_model
from rewardsmith.doctor.rules import (
    STACK,
    Combination,
    Environment,
    Rule,
    RuleBook,
    applied_rules,
    installed,
    load_rules,
    version_findings,
)
from rewardsmith.doctor.scanning import Fixed, Scanned, fixes, scan_paths, scan_text

__all__ = [
    "STACK",
    "Combination",
    "Environment",
    "Fixed",
    "Rule",
    "RuleBook",
    "Scanned",
    "applied_rules",
    "checkpoint_findings",
    "checkpoint_fixes",
    "fixes",
    "installed",
    "is_checkpoint",
    "is_reward_model",
    "load_rules",
    "scan_paths",
    "scan_text",
    "version_findings",
]
