"""Silence for what upstream prints about things that are done on purpose here. Faults are raised, never logged.

    with quiet_upstream():
        model = AutoModelForSequenceClassification.from_pretrained(…)     # no report of the head that is new on purpose

Silenced: transformers' load report and progress bars, and the deprecation warnings that TRL 1.16 and peft 0.21 set off
in transformers 5.23 by using the old name of `activation_checkpointing`, and what peft says of settings that it makes
itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

_OF_PEFT = (
    "fan_in_fan_out is set to False but the target module is `Conv1D`",  # it then sets it itself
    "target_parameters=.* were set but no parameter was matched",  # its own conversion for experts, which has no use
    "The following (rank|alpha)_pattern keys did not match",  # the same
)


@contextmanager
def quiet_upstream() -> Iterator[None]:
    """Raise transformers' log level to errors, hide its bars and the named warnings; put all back afterwards."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning
            )
            for message in _OF_PEFT:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
