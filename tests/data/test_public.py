"""Published schemas: a few rows of our own in each are recognised, read by what their label means, and documented."""

# ruff: noqa: E501 - a row of a table is a line
from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from cli_world import World

from pages.data import slug
from rewardsmith.data.forms.published import PUBLISHED, by_hub_id

DOCS = Path(__file__).resolve().parents[2] / "docs"
Q, G, B = "Which river is long?", "It is the Loire.", "I would rather not say."
P, H = "And the next one?", [("user", "Hi there"), ("assistant", "Hello!")]


def say(role, text):
    return {"role": role, "content": text}


def chat(*texts):
    return [say(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]


def human(*texts):
    return "".join(f"\n\n{('Human', 'Assistant')[n % 2]}: {text}" for n, text in enumerate(texts))


def tool(selected):
    return [{"id": 1, "result": [{"type": "pairwise", "value": {"selected": selected}}], "was_cancelled": False}]


def rated(text, **scores):
    return {"prompt": Q, "response": text, "correctness": 0, "coherence": 0, "complexity": 0, "verbosity": 0, **scores}


EARLIER = [H[0][1], H[1][1]]
PAIR = [(Q, G, B)]
# The rows, and the pairs (last turn of the prompt, chosen, rejected) that they hold; the other rows are ties.
OASST = [
    {"message_id": name, "parent_id": parent, "user_id": "u", "text": text, "role": role, "lang": "en",
     "review_count": 3, "review_result": True, "deleted": False, "rank": rank, "synthetic": False, "model_name": None,
     "message_tree_id": "1", "tree_state": "ready_for_export", "emojis": None, "labels": None}
    for name, parent, text, role, rank in (
        ("1", None, Q, "prompter", None), ("2", "1", B, "assistant", 1), ("3", "1", G, "assistant", 0),
        ("4", "3", P, "prompter", None), ("5", "4", B, "assistant", 0), ("6", "4", G, "assistant", 1))
]  # fmt: skip
SMALL = {
    "Anthropic HH (hh-rlhf)": (
        [{"chosen": human(Q, G), "rejected": human(Q, B)}, {"chosen": human(*EARLIER, P, G), "rejected": human(*EARLIER, P, B)}],
        [*PAIR, (P, G, B)]),
    "rm-static and full-hh-rlhf (HH, split)": (
        [{"prompt": human(Q, ""), "response": f" {G}", "chosen": f" {G}", "rejected": f" {B}"}], PAIR),
    "PKU-SafeRLHF": (
        [{"prompt": Q, "response_0": B, "response_1": G, "better_response_id": 1, "safer_response_id": 0}], PAIR),
    "Stanford Human Preferences (SHP)": (
        [{"history": Q, "human_ref_A": G, "human_ref_B": B, "labels": 1, "score_A": 9, "score_B": 3},
         {"history": P, "human_ref_A": B, "human_ref_B": G, "labels": 0, "score_A": 2, "score_B": 3}],
        [*PAIR, (P, G, B)]),
    "Chatbot Arena, 55k (one-hot winner)": (
        [{"prompt": json.dumps([Q]), "response_a": json.dumps([B]), "response_b": json.dumps([G]), "winner_model_a": 0,
          "winner_model_b": 1, "winner_tie": 0, "model_a": "x", "model_b": "y"},
         {"prompt": json.dumps([P]), "response_a": json.dumps([B]), "response_b": json.dumps([G]), "winner_model_a": 0,
          "winner_model_b": 0, "winner_tie": 1, "model_a": "x", "model_b": "y"}], PAIR),
    "Chatbot Arena conversations, and MT-Bench judgments": (
        [{"conversation_a": chat(Q, B), "conversation_b": chat(Q, G), "winner": "model_b", "model_a": "x", "model_b": "y"},
         {"conversation_a": chat(Q, B), "conversation_b": chat(Q, G), "winner": "tie (bothbad)", "model_a": "x",
          "model_b": "y"}], PAIR),
    "Summarize from feedback (comparisons)": (
        [{"info": {"post": Q}, "summaries": [{"text": f" {B}", "policy": "x"}, {"text": f" {G}", "policy": "y"}],
          "choice": 1, "worker": "w"},
         {"info": {"post": None, "article": P}, "summaries": [{"text": G, "policy": "x"}, {"text": B, "policy": "y"}],
          "choice": 0, "worker": "w"}], [*PAIR, (P, G, B)]),
    "WebGPT comparisons": (
        [{"question": {"full_text": Q}, "answer_0": B, "answer_1": G, "score_0": -0.5, "score_1": 0.5},
         {"question": {"full_text": P}, "answer_0": B, "answer_1": G, "score_0": 0, "score_1": 0}], PAIR),
    "Nectar": (
        [{"prompt": human(Q, ""), "answers": [{"answer": B, "model": "x", "rank": 2.0}, {"answer": G, "model": "y",
          "rank": 1.0}], "num_responses": 2}], PAIR),
    "UltraFeedback": (
        [{"instruction": Q, "completions": [{"response": B, "overall_score": 4.0, "fine-grained_score": 9.0},
          {"response": G, "overall_score": 8.0, "fine-grained_score": 2.0}]}], PAIR),
    "UltraFeedback, binarized": (
        [{"prompt": Q, "chosen": chat(Q, G), "rejected": chat(Q, B), "messages": chat(Q, G), "score_chosen": 8.0,
          "score_rejected": 4.0},
         {"prompt": P, "chosen": chat(P, G), "rejected": chat(P, B), "messages": chat(P, G), "score_chosen": 8.0,
          "score_rejected": 8.0}], PAIR),
    "HelpSteer2, preference": (
        [{"prompt": Q, "response_1": G, "response_2": B, "preference_strength": -2},
         {"prompt": P, "response_1": B, "response_2": G, "preference_strength": 1},
         {"prompt": P, "response_1": B, "response_2": G, "preference_strength": 0}], [*PAIR, (P, G, B)]),
    "HelpSteer3, preference": (
        [{"context": chat(*EARLIER, Q), "response1": B, "response2": G, "overall_preference": 3, "domain": "stem"}],
        PAIR),
    "HelpSteer and HelpSteer2": ([rated(B, helpfulness=1), rated(G, helpfulness=4)], PAIR),
    "Unpaired thumbs (TRL's KTO)": (
        [{"prompt": Q, "completion": B, "label": False}, {"prompt": Q, "completion": G, "label": True}], PAIR),
    "Unpaired thumbs on messages (LLaMA-Factory, ms-swift)": (
        [{"messages": chat(Q, B), "label": False}, {"messages": chat(Q, G), "label": True}], PAIR),
    "Capybara preferences (distilabel)": (
        [{"conversation": [], "prompt": f"### Instruction: {Q}", "chosen": chat(Q, G), "rejected": chat(Q, B),
          "rating_chosen": 5, "rating_rejected": 2}], PAIR),
    "distilabel Orca pairs": (
        [{"system": "Be brief.", "input": Q, "chosen": G, "rejected": B, "status": "unchanged", "rating": [9.0, 7.0]},
         {"system": "Be brief.", "input": P, "chosen": G, "rejected": B, "status": "tie", "rating": [9.0, 9.0]}], PAIR),
    "Orca DPO pairs": ([{"system": "Be brief.", "question": Q, "chosen": G, "rejected": B}], PAIR),
    "Stack Exchange, paired": ([{"qid": 1, "question": Q, "response_j": G, "response_k": B}], PAIR),
    "LLaMA-Factory, v1 messages": (
        [{f"{side}_messages": [{"role": turn["role"], "content": [{"type": "text", "value": turn["content"]}],
          "loss_weight": 1.0} for turn in chat(Q, text)] for side, text in (("chosen", G), ("rejected", B))}], PAIR),
    "LLaMA-Factory, ShareGPT": (
        [{"conversations": [{"from": "human", "value": Q}], "chosen": {"from": "gpt", "value": G}, "system": "Be brief.",
          "rejected": {"from": "gpt", "value": B}}], PAIR),
    "LLaMA-Factory, Alpaca": (
        [{"instruction": Q, "input": "In France.", "chosen": G, "rejected": B}], [(f"{Q}\nIn France.", G, B)]),
    "OpenAI preference tuning": (
        [{"input": {"messages": chat(Q), "tools": [], "parallel_tool_calls": True}, "preferred_output":
          [say("assistant", G)], "non_preferred_output": [say("assistant", B)]}], PAIR),
    "ms-swift": ([{"messages": chat(*EARLIER, Q, G), "rejected_response": B}], PAIR),
    "ms-swift (rejected_messages)": ([{"messages": chat(*EARLIER, Q, G), "rejected_messages": chat(*EARLIER, Q, B)}], PAIR),
    "Label Studio (JSON)": (
        [{"id": 1, "data": {"prompt": Q, "text1": B, "text2": G}, "annotations": tool("right"), "predictions": []},
         {"id": 2, "data": {"prompt": P, "text1": G, "text2": B}, "annotations": tool("left") * 2 + tool("right")}],
        [*PAIR, (P, G, B)]),
    "Label Studio (CSV, JSON-MIN)": (
        [{"annotation_id": 1, "annotator": 1, "id": 1, "lead_time": 1.5, "prompt": Q, "preference": "right", "text1": B,
          "text2": G, "updated_at": "x"}], PAIR),
    "Argilla (flat)": (
        [{"id": "1", "prompt": Q, "response1": B, "response2": G, "preference.responses": ["response2", "response1"],
          "preference.responses.status": ["submitted", "discarded"]}], PAIR),
    "Argilla (flat rankings)": (
        [{"id": "1", "status": "completed", "prompt": Q, "response1": B, "response2": G, "response3": "No.",
          "preference.responses": [["response2", "response1", "response3"], ["response2", "response3", "response1"],
                                   ["response1", "response2", "response3"]],
          "preference.responses.users": ["u", "v", "w"],
          "preference.responses.status": ["submitted", "submitted", "draft"]}],
        [(Q, G, B), (Q, G, "No.")]),  # of B and "No." one ranking says one, one the other: a tie
    "Argilla (rankings)": (
        [{"prompt": Q, "response1": B, "response2": G, "preference": [{"user_id": "u", "status": "submitted",
          "value": {"rank": [1, 2], "value": ["response2", "response1"]}}]},
         {"prompt": P, "response1": G, "response2": B, "preference": [
          {"user_id": "u", "status": "submitted", "value": [{"value": "response2", "rank": 2}, {"value": "response1", "rank": 1}]},
          *({"user_id": "v", "status": status, "value": [{"value": "response2", "rank": 1}, {"value": "response1", "rank": 2}]}
            for status in ("discarded", "draft"))]}],
        [*PAIR, (P, G, B)]),
    "OpenAssistant (OASST1, OASST2)": (OASST, [(Q, G, B), (P, B, G)]),
    "OpenAssistant (trees)": (
        [{"message_tree_id": "1", "tree_state": "ready_for_export", "prompt": {**OASST[0], "replies": [
          {**OASST[1], "replies": []},
          {**OASST[2], "replies": [{**OASST[3], "replies": [{**one, "replies": []} for one in OASST[4:]]}]}]}}],
        [(Q, G, B), (P, B, G)]),
    "preference_700K (RLHFlow)": (
        [{"chosen": chat(*EARLIER, Q, G), "rejected": chat(*EARLIER, Q, B), "chosen_score": 4.0, "rejected_score": 1.0}],
        PAIR),
    "Argilla DPO mix": (
        [{"dataset": "x", "chosen": chat(Q, G), "rejected": chat(Q, B), "chosen_rating": 5, "rejected_rating": 2}], PAIR),
    "Capybara-Preferences (Argilla)": (
        [{"source": "Dove", "chosen": chat(*EARLIER, Q, G), "chosen_rating": 5, "chosen_model": "x",
          "rejected": chat(*EARLIER, Q, B), "rejected_rating": 2, "rejected_model": "y"},
         {"source": "Dove", "chosen": chat(P, G), "chosen_rating": 4, "chosen_model": "x",
          "rejected": chat(P, B), "rejected_rating": 4, "rejected_model": "y"}], PAIR),
    "Tülu 3 preference mixture": (
        [{"id": "1", "prompt": EARLIER[0], "chosen": chat(*EARLIER, Q, G), "rejected": chat(*EARLIER, Q, B),
          "source": "wildchat"}], PAIR),
    "Skywork reward preference, and other message lists": (
        [{"chosen": chat(Q, G), "rejected": chat(Q, B), "source": "magpie"}], PAIR),
}  # fmt: skip


@pytest.fixture
def world(tmp_path, tiny_base, capsys, monkeypatch):
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def block(name):
    """The commands that the page shows for a data set."""
    page = (DOCS / "public_data.md").read_text(encoding="utf-8")
    entry = page[page.index(f"### {name}\n") :]
    return re.search(r"```bash\n(.*?)```", entry, flags=re.DOTALL)[1].splitlines()


def written(world, name, rows):
    if "CSV" in name:
        path = world.folder / "small.csv"
        with path.open("w", newline="") as handle:
            table = csv.DictWriter(handle, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        path = world.folder / "small.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_every_schema_has_rows_here():
    assert set(SMALL) == {known.name for known in PUBLISHED}


@pytest.mark.parametrize("name", SMALL)
def test_the_commands_of_the_page_read_what_the_label_means(name, world):
    rows, pairs = SMALL[name]
    path = written(world, name, rows)
    init, check = (line.split()[1:] for line in block(name))
    done = world(*[path if word == init[-1] else word for word in init], "--base", str(world.base))
    assert (done.code, done.err) == (0, "")
    assert f"recognised: {name}\n" in done.out
    (known,) = [one for one in PUBLISHED if one.name == name]
    assert f"known from {known.source}" in done.out
    checked = world(*check, "--json", "--set", "data.held_out.fraction=0")
    record = json.loads(checked.out)
    source = record["sources"][0]
    ties = source["ties"]
    rows_of_pairs = {"grouped": len(pairs) + 1, "list": len({pair[0] for pair in pairs}), "tree": 1}
    if source["form"] == "tree" and len(rows) > 1:  # a message a row
        rows_of_pairs["tree"] = len(rows)
    assert (source["kept"], source["formed"]) == (len(pairs), len(pairs) + ties)
    if source["form"] == "list":  # the ties of a row that has pairs are no row of their own
        ties = 0
    assert source["read"] - ties == rows_of_pairs.get(source["form"], len(pairs))
    shown = [(row["prompt"][-1]["content"], row["chosen"][-1]["content"], row["rejected"][-1]["content"])
             for row in record["shown"]]  # fmt: skip
    assert shown == pairs
    for row in record["shown"]:
        assert row["chosen_text"].count(row["chosen"][-1]["content"]) == 1
        assert row["margin"] is None or row["margin"] > 0
    if any("system" in row for row in rows):
        assert record["shown"][0]["prompt"][0] == {"role": "system", "content": "Be brief."}


def test_another_label_of_a_data_set(world):
    rows, _ = SMALL["UltraFeedback"]
    path = written(world, "", rows)
    assert world("init", "new", "--data", path, "--base", str(world.base), "--label", "fine-grained_score").code == 0
    (shown,) = json.loads(world("check", "new/spec.yaml", "--show", "1", "--json").out)["shown"]
    assert (shown["chosen"][0]["content"], shown["margin"]) == (B, 7.0)


def test_hub_ids_belong_to_one_schema():
    ids = [one for known in PUBLISHED for one in known.ids]
    assert len(set(ids)) == len(ids)
    assert by_hub_id("STANFORDNLP/shp").name.startswith("Stanford")
    assert by_hub_id("someone/else") is None


@pytest.mark.parametrize(
    "cell", [lambda side: side, lambda side: [{"selected": side}], lambda side: json.dumps([{"selected": side}])]
)
def test_a_table_of_label_studio_has_plain_sides_or_its_converters_objects(cell, world):
    """The converter writes out plain text for choices only; a Pairwise cell stays a list of one object."""
    rows = [{"annotation_id": n, "lead_time": 1.5, "prompt": f"{Q} {n}", "which": cell(side), "text1": one, "text2": two}
            for n, (side, one, two) in enumerate([("right", B, G), ("left", G, B)])]  # fmt: skip
    path = written(world, "", rows)
    assert world("init", "new", "--data", path, "--base", str(world.base)).code == 0
    shown = json.loads(world("check", "new/spec.yaml", "--show", "2", "--json").out)["shown"]
    assert [row["chosen"][0]["content"] for row in shown] == [G, G]


def test_the_schema_of_each_hub_id_is_that_of_its_columns():
    """Capybara-Preferences was listed under the columns of the older data set: its equal ratings were kept as pairs."""
    assert by_hub_id("argilla/Capybara-Preferences").needs >= {"chosen_rating", "rejected_rating"}
    assert by_hub_id("argilla/distilabel-capybara-dpo-7k-binarized").needs >= {"rating_chosen", "rating_rejected"}


def test_each_schema_has_a_folder_of_its_own():
    assert len({slug(known.name) for known in PUBLISHED}) == len(PUBLISHED)
