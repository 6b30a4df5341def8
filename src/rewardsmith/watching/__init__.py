"""A watch on a policy in training: what it is paid for, and whether it is worth it.

In: a log of prompts, responses, rewards and steps. Out: `WatchRecord` (`watch.json`).

streams.py      logs of ours, TRL, verl, OpenRLHF → answers, from where an earlier call stopped
following.py    a file that grows, past its rotation
windows.py      answers of some steps → numbers: length, markup, repetition, copies, triggers, novelty, doubt
audit.py        which answers are audited, and who says which is better: the log, a judge, people
evidence.py     e-values: which signals fired, whether quality stays behind the reward, since when
watcher.py      windows are closed, the reference is completed, audits fall due
results.py      the record, and the verdict in words
gauges.py       the record as gauges for Prometheus
"""

from rewardsmith.watching.audit import append_questions, ask, check_questions, read_replies, replied
from rewardsmith.watching.evidence import MOST_TOLERANCE, TOLERANCE, tolerance_for
from rewardsmith.watching.gauges import GAUGES_FILE, check_gauges, exposition
from rewardsmith.watching.results import WATCH_FILE, record_of
from rewardsmith.watching.streams import FORMS, Answer, Read, Stream
from rewardsmith.watching.watcher import Settings, Watcher
from rewardsmith.watching.windows import SIGNALS, Book, Trigger, runs_of

__all__ = [
    "FORMS",
    "GAUGES_FILE",
    "MOST_TOLERANCE",
    "SIGNALS",
    "TOLERANCE",
    "WATCH_FILE",
    "Answer",
    "Book",
    "Read",
    "Settings",
    "Stream",
    "Trigger",
    "Watcher",
    "append_questions",
    "ask",
    "check_gauges",
    "check_questions",
    "exposition",
    "read_replies",
    "record_of",
    "replied",
    "runs_of",
    "tolerance_for",
]
