"""Judging: a language model behind an OpenAI-compatible endpoint compares, ranks and rates responses.

judge.py      `LanguageModelJudge`, which fulfils `protocols.BenchmarkJudge`: orders, samples, several readings as one
questions.py  the material of a row put into a prompt, and the strict reader of the reply; prompts/ holds ours
client.py     each request once, within the budget, so many at a time, with retries and deadlines; the log of calls
endpoint.py   the openai SDK and everything that can go wrong with it

    judge = LanguageModelJudge(spec, load_prompts(spec.prompts), Client(spec, Endpoint(spec), log), seed=17)
    verdict = await judge.compare(comparison)

The `openai` package (extra `judge`) is imported when an `Endpoint` is made.
"""

from rewardsmith.judging.client import CALLS_FILE, CallLog, Client
from rewardsmith.judging.endpoint import Endpoint
from rewardsmith.judging.judge import LanguageModelJudge
from rewardsmith.judging.questions import Prompt, load_prompts

__all__ = ["CALLS_FILE", "CallLog", "Client", "Endpoint", "LanguageModelJudge", "Prompt", "load_prompts"]
