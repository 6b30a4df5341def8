"""The record of a watch as gauges for Prometheus: for a textfile collector, and for the reward server's `/metrics`.

    write_text(folder / GAUGES_FILE, exposition(record, time.time()))

The names stand here alone. The server shows the file as it is (`serving/metrics.py`).
"""

from __future__ import annotations

from pathlib import Path

from rewardsmith.records.files import guard_own
from rewardsmith.records.watch import WatchRecord

GAUGES_FILE = "watch.prom"

_BEGINNING = b"# HELP rewardsmith_watch_"


def check_gauges(path: Path) -> None:
    """Refuse a file that is there and holds something else than these gauges: a textfile collector has others too.

    Raises:
        RunDirectoryError: it does, is no regular file, or cannot be read.
    """
    guard_own(path, lambda file: file.read(len(_BEGINNING)) == _BEGINNING, "the gauges of a watch")


def exposition(record: WatchRecord, now: float) -> str:
    """The record as gauges in Prometheus' text format.

    Args:
        record: as it is now.
        now: seconds since 1970, so that a watch that has stopped can be told from one that sees nothing new.
    """
    last = record.windows[-1] if record.windows else None
    audit = record.audit
    gauges: list[tuple[str, str, list[tuple[str, float | int | None]]]] = [
        ("outcome", "1 for the outcome that holds.", [
            (f'{{outcome="{one}"}}', int(record.outcome == one)) for one in ("fine", "warning", "alarm", "short")
        ]),
        ("time_seconds", "When the watch looked last, in seconds since 1970.", [("", now)]),
        ("step", "Last step that was read.", [("", record.last_step)]),
        ("answers", "Answers that were read.", [("", record.answers)]),
        ("rejected", "Rows that could not be used.", [("", sum(record.rejected.values()))]),
        ("reward_mean", "Mean raw reward of the last window.", [("", last.reward_mean if last else None)]),
        ("reward_std", "Its standard deviation.", [("", last.reward_std if last else None)]),
        ("length_mean", "Mean words of an answer of the last window.", [("", last.length_mean if last else None)]),
        ("kl_mean", "Mean divergence from the reference policy.", [("", last.kl_mean if last else None)]),
        ("signal", "Signal in the last windows, 0 to 1.", [(_label(one.code), one.last) for one in record.signals]),
        ("signal_limit", "What a signal must pass.", [(_label(one.code), one.limit) for one in record.signals]),
        ("signal_evidence", "Largest e-value so far.", [(_label(one.code), one.e_value) for one in record.signals]),
        ("signal_fired", "1 where a signal fired.", [
            (_label(one.code), int(one.fired_step is not None)) for one in record.signals
        ]),
        ("audit_answered", "Audited pairs with an answer.", [("", audit.answered)]),
        ("audit_missing", "Audited pairs without one.", [("", sum(audit.missing.values()) + audit.waiting)]),
        ("audit_reward_wins", "Share of pairs that the policy wins by reward.", [("", audit.reward_wins)]),
        ("audit_quality_wins", "Share of pairs that it wins by quality.", [("", audit.quality_wins)]),
        ("audit_evidence", "Largest e-value against: quality keeps up.", [("", audit.e_value)]),
    ]  # fmt: skip
    lines = []
    for name, told, values in gauges:
        lines += [f"# HELP rewardsmith_watch_{name} {told}", f"# TYPE rewardsmith_watch_{name} gauge"]
        lines += [f"rewardsmith_watch_{name}{label} {value!r}" for label, value in values if value is not None]
    return "\n".join(lines) + "\n"


def _label(code: str) -> str:
    return f'{{signal="{code}"}}'
