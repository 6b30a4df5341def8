"""Every file of the shared published formats through `init` and `check --show 2`: read as its table says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_world import World
from tool_templates import tool_base

from rewardsmith.data.files import read_rows
from rewardsmith.data.sources import named_source, read_source

FORMATS = Path(__file__).resolve().parents[2] / "shared" / "formats"
pytestmark = pytest.mark.skipif(not FORMATS.is_dir(), reason="the shared formats are not here")

# File: the form, pairs and ties; what else differs from 24 rows that are the entries of truth.json.
TABLE = {
    "01_hh.jsonl": ("transcript", 24, 0),
    "01b_rm_static.parquet": ("transcript", 24, 0),
    "02_pku.jsonl": ("comparison", 24, 0),
    "03_shp.jsonl": ("comparison", 24, 0),
    "04_arena33k.parquet": ("comparison", 12, 12),
    "04c_arena55k.csv": ("comparison", 16, 8),
    "05_summarize.jsonl": ("comparison", 24, 0),
    "06_webgpt.jsonl": ("comparison", 20, 4),
    "07_nectar.parquet": ("list", 72, 0),
    "08_ultrafeedback.jsonl": ("list", 24, 0),
    "08b_uf_binarized.parquet": ("pair", 20, 4),
    "09_helpsteer2.jsonl": ("grouped", 24, 0),
    "09b_hs2_pref.jsonl": ("comparison", 21, 3),
    "10_skywork.parquet": ("pair", 24, 0),
    "11_tulu3_firstturn.parquet": ("pair", 24, 0),
    "11b_tulu3_lastturn.parquet": ("pair", 24, 0),
    "12_lf_sharegpt.json": ("pair", 24, 0),
    "12b_lf_sharegpt_system.json": ("pair", 24, 0),
    "12c_lf_alpaca.json": ("pair", 24, 0),
    "12f_lf_v1.jsonl": ("pair", 10, 0),
    "12r_lf_real.json": ("pair", 40, 0),
    "13b_distilabel_orca.jsonl": ("pair", 16, 8),
    "13c_dpo_mix.jsonl": ("pair", 24, 0),
    "13d_capybara.jsonl": ("pair", 24, 0),
    "14_stackexchange.parquet": ("pair", 24, 0),
    "15_rlhflow700k.parquet": ("pair", 24, 0),
    "16_orca.jsonl": ("pair", 24, 0),
    "17_ls_json.json": ("comparison", 24, 0),
    "17c_ls.csv": ("comparison", 24, 0),
    "17d_argilla_rank.jsonl": ("comparison", 24, 0),
    "17e_argilla_flat.jsonl": ("comparison", 24, 0),
    "18_tools.jsonl": ("pair", 24, 0),
    "18b_tools_legacy.jsonl": ("pair", 24, 0),
    "18b2_tools_legacy_empty.jsonl": ("pair", 24, 0),
    "18c_tools_answer.jsonl": ("pair", 24, 0),
    "18d_tools_col.jsonl": ("pair", 24, 0),
    "18e_reasoning.jsonl": ("pair", 24, 0),
    "19_parts.jsonl": ("pair", 24, 0),
    "19b_parts2.jsonl": ("pair", 24, 0),
    "20_openai.jsonl": ("openai", 24, 0),
    "x1_pandas_repr.csv": ("pair", 24, 0),
    "x2_json_strings.jsonl": ("pair", 24, 0),
    "x3_lmarena_context.jsonl": ("pair", 24, 0),
    "x4_prompt_in_text.jsonl": ("pair", 24, 0),
    "x6_chatml.jsonl": ("transcript", 24, 0),
    "x7_json_cell.csv": ("pair", 24, 0),
    "y1_chosen_names_column.jsonl": ("comparison", 24, 0),
    "y3_hh_same_prompt.jsonl": ("transcript", 36, 0),
    "y4_roles.jsonl": ("pair", 24, 0),
    "y5_roles_upper.jsonl": ("pair", 24, 0),
    "y6_obs.jsonl": ("pair", 24, 0),
    "y7_swift.jsonl": ("pair", 24, 0),
    "y8_prompt_question_context.jsonl": ("pair", 24, 0),
    "y9_rank_cols.jsonl": ("pair", 24, 0),
    "y10_prompt_plus_full.jsonl": ("transcript", 24, 0),
    "y11_sys_in_sides.jsonl": ("pair", 24, 0),
}
REFUSED = {
    "12e_rlhfv.json": "column 'images' holds images",
    "x5_diverge.jsonl": "their histories differ before the last turn",
    "y12_sys_differs.jsonl": "chosen and rejected do not begin with the same messages",
}
REAL = {"12f_lf_v1.jsonl", "12r_lf_real.json"}  # texts of their own
# Roles before the last user turn, of the rows whose number leaves the second as its remainder by the first.
EARLIER = ("user", "assistant")
BEFORE = {
    "01_hh.jsonl": (3, EARLIER), "01b_rm_static.parquet": (3, EARLIER), "11_tulu3_firstturn.parquet": (4, EARLIER),
    "11b_tulu3_lastturn.parquet": (4, EARLIER), "15_rlhflow700k.parquet": (1, EARLIER),
    "12b_lf_sharegpt_system.json": (1, ("system",)), "13b_distilabel_orca.jsonl": (1, ("system",)),
    "x6_chatml.jsonl": (1, ("system",)), "y11_sys_in_sides.jsonl": (1, ("system",)),
    "x3_lmarena_context.jsonl": (1, EARLIER), "18_tools.jsonl": (1, ("system",)),
    "18b_tools_legacy.jsonl": (1, ("system",)), "18b2_tools_legacy_empty.jsonl": (1, ("system",)),
}  # fmt: skip
LENGTHS = {"12f_lf_v1.jsonl": 6000, "12r_lf_real.json": 6000}  # tokens, of which a byte is one; elsewhere 500
CALLING = {"18_tools.jsonl", "18b_tools_legacy.jsonl", "18b2_tools_legacy_empty.jsonl", "y6_obs.jsonl"}
WITH_TOOLS = {"18_tools.jsonl", "18b_tools_legacy.jsonl", "18b2_tools_legacy_empty.jsonl", "18c_tools_answer.jsonl",
              "18d_tools_col.jsonl"}  # fmt: skip


SOMETIMES = {"12_lf_sharegpt.json", "16_orca.jsonl"}  # a system message where the row has one


ABOVE = {"19b_parts2.jsonl": "Context:", "y8_prompt_question_context.jsonl": "The passage says 5.\n\n"}


def truth():
    return [tuple(entry) for entry in json.loads((FORMATS / "truth.json").read_text(encoding="utf-8"))]


def asked(pair):
    """The question of a pair: its last user turn."""
    return [turn.content for turn in pair.prompt if turn.role == "user"][-1]


def of(pair):
    return asked(pair), pair.chosen[-1].content, pair.rejected[-1].content


@pytest.fixture
def world(tmp_path, tiny_base, capsys, monkeypatch):
    return World(tmp_path, tiny_base, capsys, monkeypatch)


def test_every_file_is_in_the_table():
    files = {path.name for path in FORMATS.iterdir()} - {"README.md", "truth.json"}
    assert files == {*TABLE, *REFUSED}


@pytest.mark.parametrize("name", TABLE)
def test_a_file_is_read_as_the_table_says(name, world):
    form, count, ties = TABLE[name]
    done = world("init", "new", "--data", str(FORMATS / name), "--base", str(world.base))
    assert (done.code, done.err) == (0, "")
    source = named_source("new/spec.yaml")
    read = read_source(source, role="train", strings="chat", seed=0, embedded={})
    pairs = [pair for _, pair in read.pairs]
    reasons = [row.reason for row in read.rejected]
    assert (source.form.kind, len(pairs), reasons) == (form, count, ["tie"] * ties)
    assert all(pair.target_margin is None or pair.target_margin > 0 for pair in pairs)
    if name not in REAL:
        for (number, pair), place in zip(read.pairs, places(name, read.pairs), strict=True):
            assert of(pair) == expected(name, place, pair), number
        nothing_of_the_context_is_lost(name, pairs)


def expected(name, place, pair):
    """Question, better and worse answer of an entry of truth.json, as this file has them."""
    question, better, worse = truth()[place]
    if name == "17_ls_json.json" and place % 2:  # there the second text won
        better, worse = worse, better
    if name == "12c_lf_alpaca.json" and "\n" in asked(pair):
        question += f"\nText {place}: the quick brown fox"
    if name == "y3_hh_same_prompt.jsonl":
        found = pair.chosen[-1].content
        before = found[: found.index(better)]
        better, worse = before + better, before + worse
    if name == "07_nectar.parquet" and not pair.id.endswith(":0-2"):  # the second answer is the file's own
        _, better, worse = of(pair)
    return ABOVE.get(name, "") + question, better, worse


def nothing_of_the_context_is_lost(name, pairs):
    last = [[turn.role for turn in pair.prompt if turn.role != "tools"] for pair in pairs]
    if name in SOMETIMES:
        stated = [_stated_system(row) for _, row in read_rows(FORMATS / name)]
        assert [found[0] == "system" for found in last] == stated
    else:
        every, roles = BEFORE.get(name, (1, ()))
        for row, found in enumerate(last):
            before = found[: len(found) - 1 - found[::-1].index("user")]
            assert tuple(before) == (roles if row % every == 0 else ()), row
    assert all(bool(pair.tools) == (name in WITH_TOOLS) for pair in pairs)
    calls = [[turn for turn in pair.prompt if turn.tool_calls] for pair in pairs]
    assert all(bool(found) == (name in CALLING) for found in calls)
    if name == "18c_tools_answer.jsonl":
        assert all(pair.chosen[-1].tool_calls for pair in pairs)
    if name == "18e_reasoning.jsonl":
        assert all(pair.chosen[-1].reasoning_content == "I think step by step." for pair in pairs)


def _stated_system(row):
    return bool(row.get("system")) or row.get("conversations", [{}])[0].get("from") == "system"


def places(name, pairs):
    """The entry of truth.json that each pair was made of."""
    if name == "07_nectar.parquet":
        return [number - 1 for number, _ in pairs]
    if name == "09_helpsteer2.jsonl":
        return list(range(24))
    if name == "y3_hh_same_prompt.jsonl":
        return [(number - 1) // 3 for number, _ in pairs]  # three pairs of each prompt, with a word or two before
    return [number - 1 for number, _ in pairs]


@pytest.mark.parametrize("name", ["02_pku.jsonl", "07_nectar.parquet", "09_helpsteer2.jsonl", "12f_lf_v1.jsonl"])
def test_two_pairs_are_shown_before_any_training(name, world):
    world("init", "new", "--data", str(FORMATS / name), "--base", str(world.base))
    shown = json.loads(world("check", "new/spec.yaml", "--show", "2", "--json").out)["shown"]
    assert len(shown) == 2
    for row in shown:
        assert {"row", "prompt", "chosen", "rejected", "chosen_text", "rejected_text", "margin"} <= set(row)
        for side in ("chosen", "rejected"):
            assert row[side][-1]["content"] in row[f"{side}_text"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_a_file_trains(name, tmp_path, tiny_base, capsys, monkeypatch):
    """About ten steps, evaluation and report, of what `init` wrote; on a template that shows tools and reasoning."""
    world = World(tmp_path, tool_base(tmp_path / "base", tiny_base, "qwen"), capsys, monkeypatch)
    world("init", "new", "--data", str(FORMATS / name), "--base", str(world.base))
    _, count, ties = TABLE[name]
    settings = {
        "data.max_length": LENGTHS.get(name, 500),
        "data.over_length": "truncate_prompt",
        "data.fail_on": "[]",
        "hardware": "{device: cpu, threads: 1}",
        "training.pairs_per_step": max(1, count // 11),
        "evaluation.benchmarks": "[]",
        "evaluation.bootstrap": 200,
    }
    done = world(
        "run", "new/spec.yaml", *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))
    )
    assert done.code in (0, 1), done.err  # 1: gates that a random tiny base does not pass
    (run,) = Path("new").glob("runs/*") if Path("new/runs").is_dir() else Path("runs").iterdir()
    check = json.loads((run / "check.json").read_text())
    (source,) = [one for one in check["sources"] if one["role"] == "train"]
    assert (source["formed"], source["ties"]) == (count + ties, ties)
    assert source["kept"] == count
    assert (run / "report.html").is_file()
    print(f"| {name} | {source['form']} | {source['kept']} | {ties} | {source['unused'] - ties} |")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_and_leaves_no_spec(name, world):
    done = world("init", "new", "--data", str(FORMATS / name), "--base", str(world.base))
    assert (done.code, REFUSED[name] in done.err) == (2, True)
    assert not Path("new/spec.yaml").exists()
