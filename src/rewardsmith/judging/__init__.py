"""Judging: a language model behind an OpenAI-compatible endpoint compares, ranks and rates responses.

judge.py      `LanguageModelJudge`, which fulfils `protocols.BenchmarkJudge`
questions.py  the material of a row, put into a prompt
templates.py  prompt files: read, checked, hashed; prompts/ holds those of this project
orders.py     in which order candidates are shown: drawn and balanced
requests.py   the exact request, and what endpoints may not know
replies.py    the strict parser, and verdicts from token probabilities
combining.py  several readings as one verdict
client.py     each request once, within the budget, so many at a time, with retries and deadlines
budget.py     reserved before a call, settled after it
calls.py      the log: cache, ledger, and the memory of a killed job
endpoint.py   the openai SDK and everything that can go wrong with it
tally.py      replies, places and ratings, counted

    judge = LanguageModelJudge(spec, load_prompts(spec.prompts), Client(spec, Endpoint(spec), log), seed=17)
    verdict = await judge.compare(comparison)

The `openai` package (extra `judge`) is imported when an `Endpoint` is made.
"""

from rewardsmith.judging.client import CALLS_FILE, CallLog, Client
from rewardsmith.judging.endpoint import Endpoint
from rewardsmith.judging.judge import LanguageModelJudge
from rewardsmith.judging.questions import Prompt, load_prompts

__all__ = ["CALLS_FILE", "CallLog", "Client", "Endpoint", "LanguageModelJudge", "Prompt", "load_prompts"]
