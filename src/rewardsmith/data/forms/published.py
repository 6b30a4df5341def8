"""Public data sets and the exports of annotation tools: by which columns each is known, and what its label means.

    known = find_published(names, rows)       # Published, or None
    known = by_hub_id("stanfordnlp/SHP")

`PUBLISHED` is the only list; `init` and docs/public_data.md read it. `meaning` says what the label means, `source` from
where that is known. A signature is the names of columns and, where names alone do not tell, a look at the first rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rewardsmith.data.columns import parsed
from rewardsmith.data.forms.comparison import is_order
from rewardsmith.data.forms.transcripts import style_of
from rewardsmith.rendering.messages import ROLES

Rows = Sequence[Mapping[str, Any]]
Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Published:
    """One published schema.

    `form`, `columns` and `ignore` are what the spec says. `dropped` says what of the data set is not read. `choices`
    are other readings of the same file: a name (a column, mostly) and the fields of the form that change. `hub` is the
    configuration and split in which the hub has the pairs. `checked` is what the meaning was compared with, "" where
    nothing since it was written down.
    """

    name: str
    ids: tuple[str, ...]
    needs: frozenset[str]
    form: Content
    meaning: str
    source: str
    columns: Content = field(default_factory=dict)
    optional: Content = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    dropped: str = ""
    choices: Mapping[str, Content] = field(default_factory=dict)
    looks: Callable[[Rows], bool] | None = None
    without: frozenset[str] = frozenset()
    hub: Mapping[str, str] = field(default_factory=dict)
    checked: str = ""

    def fits(self, names: Collection[str], rows: Rows) -> bool:
        """Whether a file with these columns and first rows is of this schema."""
        if not self.needs <= set(names) or self.without & set(names):
            return False
        return self.looks is None or self.looks(rows)

    def columns_for(self, names: Collection[str]) -> dict[str, Any]:
        """The column map, with what only some versions of the data set have."""
        more = {ours: theirs for ours, theirs in self.optional.items() if theirs in names}
        return {**self.columns, **more}

    def ignore_for(self, names: Collection[str]) -> tuple[str, ...]:
        """The columns that are left out knowingly, of those there are."""
        return tuple(name for name in self.ignore if name in names)


def find_published(names: Collection[str], rows: Rows) -> Published | None:
    """The published schema of a file, None where it is of none."""
    return next((one for one in PUBLISHED if one.fits(names, rows)), None)


def by_hub_id(hub_id: str) -> Published | None:
    """The published schema of a hub data set, by its id."""
    return next((one for one in PUBLISHED if hub_id.lower() in map(str.lower, one.ids)), None)


def _cells(name: str, check: Callable[[Any], bool]) -> Callable[[Rows], bool]:
    """A look at one column: `check` holds for every value that is there, and some is."""

    def looks(rows: Rows) -> bool:
        values = [value for row in rows if (value := parsed(row.get(name))) is not None]
        return bool(values) and all(map(check, values))

    return looks


def _both(*looks: Callable[[Rows], bool]) -> Callable[[Rows], bool]:
    return lambda rows: all(look(rows) for look in looks)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_transcript(value: Any) -> bool:
    return isinstance(value, str) and style_of(value) == "human_assistant"


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


def _is_turn(value: Any) -> bool:
    return isinstance(value, dict) and {"from", "value"} <= value.keys()


def _items_have(*keys: str) -> Callable[[Any], bool]:
    return lambda value: _is_messages(value) and all(set(keys) <= item.keys() for item in value)


def _is_node(value: Any) -> bool:
    return isinstance(value, dict) and {"text", "role", "replies"} <= value.keys()


def _has_role(value: Any) -> bool:
    return _is_messages(value) and all(str(turn.get("role", turn.get("from"))).lower() in ROLES for turn in value)


def flat_rankings(rows: Rows) -> str | None:
    """The column of a table of Argilla's whose cells are lists of rankings, each a list of names."""
    for name in (one for one in rows[0] if str(one).endswith(".responses")):
        cells = [cell for row in rows if (cell := parsed(row.get(name))) not in (None, "", [])]
        if cells and all(isinstance(cell, list) and all(map(is_order, cell)) for cell in cells):
            return name
    return None


def pairwise_column(rows: Rows) -> str | None:
    """Where a Label Studio table holds `left` or `right`: the column, or the path into its `[{"selected": "left"}]`."""
    for name in rows[0]:
        cells = [parsed(value) for row in rows if (value := row.get(name)) not in (None, "")]
        if cells and all(cell in ("left", "right") for cell in cells):
            return name
        if cells and all(_is_messages(cell) and cell[0].get("selected") in ("left", "right") for cell in cells):
            return f"{name}[0].selected"
    return None


_LEFT_RIGHT = {"first": ["left"], "second": ["right"]}

_LEFT_OUT = {"deleted": [True], "review_result": [False]}

PUBLISHED: tuple[Published, ...] = (
    Published(
        "Anthropic HH (hh-rlhf)",
        ("Anthropic/hh-rlhf",),
        frozenset({"chosen", "rejected"}),
        {"kind": "transcript"},
        "chosen is the answer that the crowdworker preferred",
        "the data set's card and Bai et al. 2022 (arXiv:2204.05862)",
        looks=_both(_cells("chosen", _is_transcript), _cells("rejected", _is_transcript)),
        without=frozenset({"prompt"}),
        checked="the data set's README and the loader of open-instruct (both sides split at the same markers)",
    ),
    Published(
        "rm-static and full-hh-rlhf (HH, split)",
        ("Dahoas/rm-static", "Dahoas/full-hh-rlhf"),
        frozenset({"prompt", "chosen", "rejected"}),
        {"kind": "transcript"},
        "chosen is the answer that the crowdworker of HH preferred",
        "the data set's card: Anthropic's HH, split into prompt and answers",
        ignore=("response",),
        dropped="response, which repeats chosen",
        looks=_cells("prompt", _is_transcript),
        checked="the loader of DeepSpeed-Chat (`prompt` + `chosen`, `prompt` + `rejected`)",
    ),
    Published(
        "PKU-SafeRLHF",
        ("PKU-Alignment/PKU-SafeRLHF", "PKU-Alignment/PKU-SafeRLHF-10K", "PKU-Alignment/PKU-SafeRLHF-30K"),
        frozenset({"prompt", "response_0", "response_1", "better_response_id", "safer_response_id"}),
        {
            "kind": "comparison",
            "first": "response_0",
            "second": "response_1",
            "verdict": {"column": "better_response_id", "values": {"first": [0], "second": [1]}},
        },
        "better_response_id is the id of the more helpful answer, safer_response_id of the less harmful one",
        "the data set's card and Ji et al. 2024 (arXiv:2406.15513)",
        optional={"source": "prompt_source"},
        dropped="the other verdict, harm categories and severity levels",
        choices={
            "safer_response_id": {"verdict": {"column": "safer_response_id", "values": {"first": [0], "second": [1]}}}
        },
        checked="the data set's card and loaders that take `response_0` where `safer_response_id` is 0",
    ),
    Published(
        "Stanford Human Preferences (SHP)",
        ("stanfordnlp/SHP", "stanfordnlp/SHP-2"),
        frozenset({"history", "human_ref_A", "human_ref_B", "labels"}),
        {
            "kind": "comparison",
            "first": "human_ref_A",
            "second": "human_ref_B",
            "verdict": {"column": "labels", "values": {"first": [1], "second": [0]}},
        },
        "labels is 1 where comment A is preferred by its votes, 0 where B is",
        "the data set's card and Ethayarajh et al. 2022",
        columns={"prompt": "history"},
        optional={"subset": "domain"},
        dropped="votes and times",
        checked="the data set's card and the loader of modpo (`labels` is 1 if A is preferred to B)",
    ),
    Published(
        "Chatbot Arena, 55k (one-hot winner)",
        ("lmsys/lmsys-arena-human-preference-55k", "lmarena-ai/arena-human-preference-55k"),
        frozenset({"prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"}),
        {
            "kind": "comparison",
            "first": "response_a",
            "second": "response_b",
            "by_turn": True,
            "first_model": "model_a",
            "second_model": "model_b",
            "one_hot": {"first": "winner_model_a", "second": "winner_model_b", "tie": "winner_tie"},
        },
        "exactly one of winner_model_a, winner_model_b and winner_tie is 1: the user's vote",
        "the data set's card; prompt and answers are JSON lists, one text for each turn",
        dropped="conversations whose earlier answers differ (they have two prompts)",
        checked="solutions of the Kaggle competition, which read the three columns as one-hot targets",
    ),
    Published(
        "Chatbot Arena conversations, and MT-Bench judgments",
        (
            "lmsys/chatbot_arena_conversations",
            "lmsys/mt_bench_human_judgments",
            "lmarena-ai/arena-human-preference-100k",
            "lmarena-ai/arena-human-preference-140k",
        ),
        frozenset({"conversation_a", "conversation_b", "winner"}),
        {
            "kind": "comparison",
            "first": "conversation_a",
            "second": "conversation_b",
            "first_model": "model_a",
            "second_model": "model_b",
            "verdict": {
                "column": "winner",
                "values": {
                    "first": ["model_a"],
                    "second": ["model_b"],
                    "tie": ["tie", "tie (bothbad)", "both_bad", "bothbad"],
                },
            },
        },
        "winner is the model that the user (or judge) voted for, or a tie",
        "the data set's card and Zheng et al. 2023 (arXiv:2306.05685)",
        optional={"annotator": "judge"},
        dropped="moderation and language; conversations whose earlier answers differ (they have two prompts)",
        checked="scripts that write or read battles (`model_a`, `model_b`, `tie`, `tie (bothbad)`; 140k: `both_bad`)",
    ),
    Published(
        "Summarize from feedback (comparisons)",
        ("openai/summarize_from_feedback",),
        frozenset({"info", "summaries", "choice"}),
        {
            "kind": "comparison",
            "first": "summaries[0].text",
            "second": "summaries[1].text",
            "strip": True,
            "first_model": "summaries[0].policy",
            "second_model": "summaries[1].policy",
            "verdict": {"column": "choice", "values": {"first": [0], "second": [1]}},
        },
        "choice is the place of the better summary, 0 or 1",
        "the data set's card and Stiennon et al. 2020 (arXiv:2009.01325)",
        columns={"prompt": "info.post|info.article"},
        optional={"annotator": "worker", "subset": "batch"},
        dropped="title, subreddit, confidence, and the instruction to summarize, which the data do not hold",
        hub={"name": "comparisons"},
        checked="loaders that take `summaries[choice]` as chosen and `summaries[1 - choice]` as rejected",
    ),
    Published(
        "WebGPT comparisons",
        ("openai/webgpt_comparisons",),
        frozenset({"question", "answer_0", "answer_1", "score_0", "score_1"}),
        {
            "kind": "comparison",
            "first": "answer_0",
            "second": "answer_1",
            "scores": {"first": "score_0", "second": "score_1", "better": "higher"},
        },
        "the answer with the higher score was preferred; equal scores are a tie",
        "the data set's card and Nakano et al. 2021 (arXiv:2112.09332)",
        columns={"prompt": "question.full_text"},
        dropped="quotes and tokens",
        checked="the data set's card (an answer is preferred if and only if its score is positive)",
    ),
    Published(
        "Nectar",
        ("berkeley-nest/Nectar",),
        frozenset({"prompt", "answers", "num_responses"}),
        {
            "kind": "list",
            "answers": "answers",
            "text": "answer",
            "score": "rank",
            "better": "lower",
            "transcript": "human_assistant",
        },
        "rank 1 is the best answer (ranked by GPT-4)",
        "the data set's card (Starling, Zhu et al. 2023)",
        dropped="models and turns",
        looks=_cells("answers", _items_have("answer", "rank")),
        checked="loaders that take the answer of the lowest rank as the best",
    ),
    Published(
        "UltraFeedback",
        ("openbmb/UltraFeedback",),
        frozenset({"instruction", "completions"}),
        {
            "kind": "list",
            "answers": "completions",
            "text": "response",
            "score": "overall_score",
            "better": "higher",
        },
        "overall_score is GPT-4's rating of the whole answer (in copies from before the authors' repair some are 10 "
        "where 1 was meant), fine-grained_score the mean of four aspects",
        "the data set's card and Cui et al. 2023 (arXiv:2310.01377)",
        columns={"prompt": "instruction"},
        dropped="annotations, critiques, and the system prompts, which differ between the answers",
        choices={"fine-grained_score": {"score": "fine-grained_score"}},
        looks=_cells("completions", _items_have("response")),
        checked="UltraFeedback's own script (the mean of the aspects' ratings; overall scores of 10 that meant 1)",
    ),
    Published(
        "UltraFeedback, binarized",
        ("HuggingFaceH4/ultrafeedback_binarized",),
        frozenset({"prompt", "chosen", "rejected", "score_chosen", "score_rejected"}),
        {"kind": "pair", "equal_scores": "tie"},
        "chosen has the highest overall score, rejected is one of the others; equal scores are a tie",
        "the data set's card",
        dropped="messages, which repeats chosen",
        hub={"split": "train_prefs"},
        looks=_cells("chosen", _has_role),
        checked="the data set's card (the highest `overall_score`, and at random one of the remaining three)",
    ),
    Published(
        "HelpSteer2, preference",
        (),
        frozenset({"prompt", "response_1", "response_2", "preference_strength"}),
        {
            "kind": "comparison",
            "first": "response_1",
            "second": "response_2",
            "strength": {"column": "preference_strength", "first_is": "negative"},
            "transcript": "extra_id",
        },
        "preference_strength is -3 where response_1 is much better, 3 where response_2 is, 0 for neither",
        "the data set's card and Wang et al. 2024 (arXiv:2410.01257)",
        dropped="statements and elaborations",
        checked="a preparation script of an OpenRLHF fork (above 0 the second response is better)",
    ),
    Published(
        "HelpSteer3, preference",
        ("nvidia/HelpSteer3",),
        frozenset({"context", "response1", "response2", "overall_preference"}),
        {
            "kind": "comparison",
            "first": "response1",
            "second": "response2",
            "strength": {"column": "overall_preference", "first_is": "negative"},
        },
        "overall_preference is -3 where response1 is much better, 3 where response2 is, 0 for neither",
        "the data set's card and Wang et al. 2025 (arXiv:2505.11475)",
        columns={"prompt": "context"},
        optional={"subset": "domain"},
        dropped="individual preferences",
        hub={"name": "preference"},
        checked="the loader of NeMo RL (below 0 `response1` is chosen)",
    ),
    Published(
        "HelpSteer and HelpSteer2",
        ("nvidia/HelpSteer2", "nvidia/HelpSteer"),
        frozenset({"prompt", "response", "helpfulness", "correctness", "coherence", "complexity", "verbosity"}),
        {
            "kind": "grouped",
            "answer": "response",
            "score": "helpfulness",
            "better": "higher",
            "transcript": "extra_id",
        },
        "helpfulness is a rating from 0 to 4; the answers to one prompt stand in rows of their own",
        "the data set's card and Wang et al. 2024 (arXiv:2406.08673)",
        dropped="the other four ratings",
        choices={"correctness": {"score": "correctness"}},
        checked="the data set's card, and NeMo-Aligner's templates for the turns' markers",
    ),
    Published(
        "Unpaired thumbs (TRL's KTO)",
        ("trl-lib/kto-mix-14k",),
        frozenset({"prompt", "completion", "label"}),
        {"kind": "grouped", "answer": "completion", "score": "label", "better": "higher"},
        "label is true where the completion is good; an answer to a prompt without the other label makes no pair",
        "TRL's documentation of unpaired preference data",
        looks=_cells("label", _is_bool),
        checked="TRL's page of data set formats and the card of trl-lib/kto-mix-14k",
    ),
    Published(
        "Unpaired thumbs on messages (LLaMA-Factory, ms-swift)",
        (),
        frozenset({"messages", "label"}),
        {"kind": "grouped", "answer": "messages[-1]", "score": "label", "better": "higher"},
        "label is true where the last message is good; an answer to a prompt without the other label makes no pair",
        "LLaMA-Factory, data/README.md (KTO), and ms-swift, custom data set (KTO)",
        columns={"prompt": "messages[:-1]"},
        optional={"tools": "tools"},
        looks=_both(_cells("label", _is_bool), _cells("messages", _has_role)),
        checked="both pages and LLaMA-Factory's converter (a true tag is the better side)",
    ),
    Published(
        "Capybara preferences (distilabel)",
        ("argilla/distilabel-capybara-dpo-7k-binarized",),
        frozenset({"conversation", "chosen", "rejected", "rating_chosen", "rating_rejected"}),
        {"kind": "pair", "equal_scores": "tie"},
        "chosen has the higher rating by GPT-4",
        "the data set's card",
        columns={"prompt": None},
        dropped="prompt, which holds the conversation in another template; generations",
        checked="the data set's card (the last message is the answer, all before it the prompt; ratings from 1 to 5)",
    ),
    Published(
        "distilabel Orca pairs",
        ("argilla/distilabel-intel-orca-dpo-pairs",),
        frozenset({"system", "input", "chosen", "rejected", "status", "rating"}),
        {"kind": "pair", "ties": {"status": ["tie"]}},
        "chosen is the answer that GPT-4 rated higher; status is tie where both have the same rating",
        "the data set's card",
        columns={"prompt": "input", "system": "system"},
        ignore=("rating",),
        dropped="generations, rationales and the labelling prompt",
        checked="loaders that take `input` as the prompt and leave rows with the status `tie` out",
    ),
    Published(
        "Orca DPO pairs",
        ("Intel/orca_dpo_pairs",),
        frozenset({"system", "question", "chosen", "rejected"}),
        {"kind": "pair"},
        "chosen is the answer of GPT-4 or GPT-3.5, rejected that of a smaller model: no one compared them",
        "the data set's card",
        columns={"prompt": "question", "system": "system"},
        checked="LLaMA-Factory's list of data sets (columns) and the card of the distilabel Orca pairs (label)",
    ),
    Published(
        "Stack Exchange, paired",
        ("lvwerra/stack-exchange-paired",),
        frozenset({"question", "response_j", "response_k"}),
        {"kind": "pair"},
        "response_j has more votes than response_k",
        "the data set's card and TRL's StackLLaMA",
        columns={"prompt": "question", "chosen": "response_j", "rejected": "response_k"},
        dropped="date and metadata",
        checked="TRL's StackLLaMA scripts (`response_j` is rated better than `response_k`)",
    ),
    Published(
        "LLaMA-Factory, v1 messages",
        (),
        frozenset({"chosen_messages", "rejected_messages"}),
        {"kind": "pair"},
        "chosen_messages end with the better answer",
        "LLaMA-Factory's documentation of its v1 data",
        columns={"chosen": "chosen_messages", "rejected": "rejected_messages"},
        optional={"tools": "tools"},
        dropped="loss weights",
        checked="the example in LLaMA-Factory's repository and its reward trainer",
    ),
    Published(
        "LLaMA-Factory, ShareGPT",
        ("llamafactory/DPO-En-Zh-20k",),
        frozenset({"conversations", "chosen", "rejected"}),
        {"kind": "pair"},
        "chosen is the better answer to the conversation",
        "LLaMA-Factory, data/README.md (preference data, ShareGPT format)",
        columns={"prompt": "conversations"},
        optional={"system": "system", "tools": "tools"},
        looks=_both(_cells("conversations", _is_messages), _cells("chosen", _is_turn)),
        checked="that page and LLaMA-Factory's converter",
    ),
    Published(
        "LLaMA-Factory, Alpaca",
        (),
        frozenset({"instruction", "input", "chosen", "rejected"}),
        {"kind": "pair"},
        "chosen is the better answer to the instruction with its input",
        "LLaMA-Factory, data/README.md (preference data, Alpaca format)",
        columns={"prompt": "instruction", "input": "input"},
        optional={"system": "system", "history": "history"},
        checked="that page and LLaMA-Factory's converter, which joins prompt and input with a line break",
    ),
    Published(
        "OpenAI preference tuning",
        (),
        frozenset({"input", "preferred_output", "non_preferred_output"}),
        {"kind": "openai"},
        "preferred_output is the better answer to input.messages",
        "OpenAI's guide to direct preference optimization",
        dropped="parallel_tool_calls",
        checked="OpenAI's published API schema, by a client made from it",
    ),
    Published(
        "ms-swift",
        (),
        frozenset({"messages", "rejected_response"}),
        {"kind": "pair"},
        "messages end with the better answer, rejected_response is the worse one",
        "ms-swift, custom data set (RLHF)",
        columns={"prompt": "messages[:-1]", "chosen": "messages[-1]", "rejected": "rejected_response"},
        optional={"tools": "tools"},
        looks=_both(_cells("messages", _has_role), _cells("rejected_response", _is_text)),
        checked="that page (DPO, RM: the last message is better than `rejected_response`)",
    ),
    Published(
        "ms-swift (rejected_messages)",
        (),
        frozenset({"messages", "rejected_messages"}),
        {"kind": "pair"},
        "messages end with the better answer, rejected_messages with the worse one",
        "ms-swift, custom data set (RLHF)",
        columns={"chosen": "messages", "rejected": "rejected_messages"},
        optional={"tools": "tools"},
        looks=_both(_cells("messages", _has_role), _cells("rejected_messages", _has_role)),
        checked="ms-swift's preprocessor, which takes the last answer of `rejected_messages` as `rejected_response`",
    ),
    Published(
        "Label Studio (JSON)",
        (),
        frozenset({"data", "annotations"}),
        {
            "kind": "comparison",
            "votes": {
                "column": "annotations[*].result[0].value.selected",
                "values": _LEFT_RIGHT,
                "status": "annotations[*].was_cancelled",
                "counted": [False, None],
            },
        },
        "left is the first of the two texts that the Pairwise tag names, right the second; the majority counts",
        "Label Studio's documentation of the Pairwise tag",
        dropped="predictions and times",
        looks=_cells("annotations", _is_messages),
        checked="the annotation mapper of Data-Juicer and its test (`left` chooses the first name in `toName`)",
    ),
    Published(
        "Label Studio (CSV, JSON-MIN)",
        (),
        frozenset({"annotation_id", "lead_time"}),
        {"kind": "comparison", "verdict": {"column": "*", "values": _LEFT_RIGHT}},
        "left is the first of the two texts that the Pairwise tag names, right the second",
        "Label Studio's documentation of the Pairwise tag and of its exports",
        dropped="times",
        looks=lambda rows: pairwise_column(rows) is not None,
        checked="Label Studio's converter (a Pairwise cell stays a list of one object: `[{selected: left}]`)",
    ),
    Published(
        "Argilla (flat rankings)",
        (),
        frozenset(),
        {"kind": "comparison", "rankings": {"column": "*.responses"}},
        "each response lists the fields, the best first; the majority of the submitted ones counts",
        "Argilla's documentation of ranking questions and of Dataset.to_datasets",
        dropped="users and metadata",
        looks=lambda rows: flat_rankings(rows) is not None,
        checked="Argilla's client: its export keeps the order of a ranking, not its ranks; by its issue 5712, what the "
        "page for annotators saves stands in the order of the options, so that no rank is left (refused)",
    ),
    Published(
        "Argilla (flat)",
        (),
        frozenset(),
        {"kind": "comparison", "votes": {"column": "*.responses"}},
        "each response names the better field; the majority of the submitted ones counts",
        "Argilla's documentation of label questions and of Dataset.to_datasets",
        dropped="users and metadata",
        looks=lambda rows: any(str(name).endswith(".responses") for name in rows[0]),
        checked="the export of Argilla's client (`to_list`, flattened: values, users and status in lists)",
    ),
    Published(
        "Argilla (rankings)",
        (),
        frozenset({"preference"}),
        {
            "kind": "comparison",
            "rankings": {
                "column": "preference[*].value",
                "names": "value",
                "ranks": "rank",
                "status": "preference[*].status",
                "counted": ["submitted", None],
            },
        },
        "rank 1 is the better answer; value names the fields, the majority of the submitted rankings counts",
        "Argilla's documentation of ranking questions",
        looks=_cells("preference", _items_have("value")),
        checked="Argilla's guide to ranking questions (1 is the best) and its server's schema of a ranking",
    ),
    Published(
        "OpenAssistant (OASST1, OASST2)",
        ("OpenAssistant/oasst1", "OpenAssistant/oasst2"),
        frozenset({"message_id", "parent_id", "text", "role", "rank"}),
        {"kind": "tree", "tree": "message_tree_id", "without": _LEFT_OUT},
        "rank 0 is the reply that people preferred among those to one message; the messages above are the prompt",
        "the data set's card and Köpf et al. 2023 (arXiv:2304.07327)",
        columns={"id": "message_id"},
        optional={"subset": "lang"},
        dropped="labels of quality and emojis; messages that were deleted or failed the review, and all below them",
        checked="the schema of oasst-data and Open-Assistant's loader for reward models (ranked replies of the "
        "assistant to one prompter's message; it also leaves out threads with synthetic messages)",
    ),
    Published(
        "OpenAssistant (trees)",
        (),
        frozenset({"message_tree_id", "prompt"}),
        {"kind": "tree", "root": "prompt", "without": _LEFT_OUT},
        "rank 0 is the reply that people preferred among those to one message; the messages above are the prompt",
        "oasst-data's description of its export (.trees.jsonl.gz) and Köpf et al. 2023 (arXiv:2304.07327)",
        columns={"id": "message_tree_id"},
        dropped="labels of quality and emojis; messages that were deleted or failed the review, and all below them",
        looks=_cells("prompt", _is_node),
        checked="the schema of oasst-data (`prompt` with `replies` inside `replies`) and Open-Assistant's loader",
    ),
    Published(
        "preference_700K (RLHFlow)",
        ("hendrydong/preference_700K",),
        frozenset({"chosen", "rejected", "chosen_score", "rejected_score"}),
        {"kind": "pair"},
        "chosen is the better answer by the source that each pair comes from",
        "the data set's card",
        looks=_cells("chosen", _has_role),
        checked="the data set's card (columns, and the sources of the pairs)",
    ),
    Published(
        "Argilla DPO mix",
        ("argilla/dpo-mix-7k",),
        frozenset({"dataset", "chosen", "rejected", "chosen_rating", "rejected_rating"}),
        {"kind": "pair", "equal_scores": "tie"},
        "chosen has the higher rating",
        "the data set's card",
        columns={"source": "dataset"},
        looks=_cells("chosen", _has_role),
        checked="the data set's card (columns, and highly rated chosen answers of three data sets)",
    ),
    Published(
        "Capybara-Preferences (Argilla)",
        ("argilla/Capybara-Preferences",),
        frozenset({"source", "chosen", "rejected", "chosen_rating", "rejected_rating"}),
        {"kind": "pair", "equal_scores": "tie"},
        "chosen has the higher rating by GPT-4",
        "the data set's card",
        looks=_cells("chosen", _has_role),
        without=frozenset({"prompt", "dataset"}),
        checked="the data set's card (columns; GPT-4 rates the given answer and those of three other models)",
    ),
    Published(
        "Tülu 3 preference mixture",
        ("allenai/llama-3.1-tulu-3-8b-preference-mixture", "allenai/llama-3.1-tulu-3-70b-preference-mixture"),
        frozenset({"id", "prompt", "chosen", "rejected", "source"}),
        {"kind": "pair"},
        "chosen is the better answer by a language model's rating; prompt is one turn of the conversation",
        "the data set's card and Lambert et al. 2024 (arXiv:2411.15124)",
        looks=_both(_cells("chosen", _has_role), _cells("prompt", _is_text)),
        without=frozenset({"context"}),
        checked="the data set's card and the script of open-instruct that chooses by the highest mean rating",
    ),
    Published(
        "Skywork reward preference, and other message lists",
        ("Skywork/Skywork-Reward-Preference-80K-v0.1", "Skywork/Skywork-Reward-Preference-80K-v0.2"),
        frozenset({"chosen", "rejected", "source"}),
        {"kind": "pair"},
        "chosen ends with the better answer",
        "the data set's card; TRL's documentation of preference data",
        looks=_both(_cells("chosen", _has_role), _cells("rejected", _has_role)),
        without=frozenset({"prompt", "context"}),
        checked="the cards of both Skywork data sets (columns, and the sources of the pairs)",
    ),
)
"""In this order; the first that fits counts."""
