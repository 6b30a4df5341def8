"""The examples for CI: they parse, cannot be made to write by a pull request, and their commands run and judge."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_world import World

CI = Path(__file__).resolve().parents[1] / "examples" / "ci"
WORKFLOW = yaml.safe_load((CI / "reward-model.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((CI / "pre-commit-config.yaml").read_text(encoding="utf-8"))
ON = WORKFLOW[True]  # YAML 1.1 reads the key `on` as true


@pytest.fixture
def world(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> World:
    """The files that the examples name, in a checkout of their own."""
    world = World(tmp_path, tiny_base, capsys, monkeypatch)
    home = tmp_path / "reward-model"
    home.mkdir()
    text = yaml.safe_dump(
        world.spec(evaluation={"benchmarks": [{"name": "rewardbench2", "data": "reward-model/rows.jsonl"}]})
    )
    (home / "spec.yaml").write_text(text)
    shutil.copy(tmp_path / "rows.jsonl", home / "rows.jsonl")
    return world


def workflow_commands() -> list[list[str]]:
    """Arguments of every `rewardsmith` call of the workflow."""
    lines = [
        line for job in WORKFLOW["jobs"].values() for step in job["steps"] for line in step.get("run", "").splitlines()
    ]
    return [shlex.split(line)[1:] for line in lines if line.startswith("rewardsmith ")]


def hooks() -> list[dict[str, Any]]:
    return [hook for repository in HOOKS["repos"] for hook in repository["hooks"]]


def test_the_workflow_runs_check_and_evaluate_with_gates() -> None:
    check, evaluate = workflow_commands()
    assert check == ["check", "reward-model/spec.yaml"]
    assert (evaluate[0], "--gates" in evaluate) == ("evaluate", True)


def test_a_pull_request_cannot_write() -> None:
    """Never `pull_request_target`; the token reads, except in the job that runs nothing of the pull request."""
    assert set(ON) == {"pull_request"}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    judge, comment = WORKFLOW["jobs"]["judge"], WORKFLOW["jobs"]["comment"]
    assert "permissions" not in judge
    assert comment["permissions"] == {"pull-requests": "write"}
    assert [step["uses"].split("@")[0] for step in comment["steps"] if "uses" in step] == ["actions/download-artifact"]
    assert judge["steps"][0]["with"]["persist-credentials"] is False


def test_no_expression_stands_in_a_script() -> None:
    """What `${{ }}` puts into a shell line is run by it; values come through the environment."""
    scripts = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    assert [script for script in scripts if "${{" in script] == []
    assert re.search(r"secrets\.", (CI / "reward-model.yml").read_text(encoding="utf-8")) is None


def test_the_summary_is_posted() -> None:
    text = (CI / "reward-model.yml").read_text(encoding="utf-8")
    assert 'cat results/summary.md >> "$GITHUB_STEP_SUMMARY"' in text
    assert "--body-file results/summary.md" in text


def test_the_commands_of_the_workflow_run_and_judge(world: World) -> None:
    """The contract passes; a model that has learned nothing does not, and the summary says so."""
    check, evaluate = workflow_commands()
    assert world(*check).code == 0
    assert world("run", "reward-model/spec.yaml").code == 1
    shutil.copytree("runs/tiny/model", "reward-model/model")
    judged = world(*evaluate)
    assert judged.code == 1, judged.err
    assert "gates" in judged.out
    summary = Path("results/summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# ❌ FAIL")
    assert "Math" in summary
    verdict = json.loads(Path("results/gates.json").read_text())
    assert verdict["passed"] is False
    assert {one["benchmark"] for one in verdict["outcomes"] if one["kind"] == "gate"} == {"rewardbench2"}


def rewards(world: World, name: str, *, right: bool) -> None:
    """Rewards computed elsewhere, for the rows of the example; the best are the chosen ones, or the rejected."""
    lines = []
    for number, line in enumerate(Path("reward-model/rows.jsonl").read_text().splitlines()):
        row = json.loads(line)
        chosen, rejected = len(row["chosen"]), len(row["rejected"])
        values = [2.0 + 0.01 * number + 0.1 * i for i in range(chosen)] + [0.001 * number - i for i in range(rejected)]
        flipped = [value if right else -value for value in values]
        lines.append({"id": row["id"], "subset": row["subset"], "rewards": flipped, "n_chosen": chosen})
    (world.folder / name).write_text("\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1)])
def test_gates_judge_rewards_computed_elsewhere(world: World, right: bool, code: int) -> None:
    rows = [
        {"id": str(i), "subset": "Math", "prompt": f"Say {i}.", "chosen": [f"{i}"], "rejected": ["a", "b", "c"]}
        for i in range(30)
    ]
    Path("reward-model/rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rewards(world, "rewards.jsonl", right=right)
    arguments = ["--benchmark", "rewardbench2", "--data", "reward-model/rows.jsonl", "--out", "results"]
    done = world("evaluate", "--rewards", "rewards.jsonl", *arguments, "--gates", "reward-model/spec.yaml")
    assert done.code == code, done.out + done.err
    assert world("evaluate", "--rewards", "rewards.jsonl", *arguments).code == 0  # without gates nothing is judged


def test_a_spec_without_this_benchmark_has_no_gates_for_it(world: World) -> None:
    rewards(world, "rewards.jsonl", right=True)
    arguments = ["--benchmark", "rewardbench2", "--data", "reward-model/rows.jsonl", "--out", "results"]
    text = yaml.safe_dump(world.spec(evaluation={"benchmarks": []}))
    (world.folder / "other.yaml").write_text(text)
    done = world("evaluate", "--rewards", "rewards.jsonl", *arguments, "--gates", "other.yaml")
    assert (done.code, "lists no benchmark 'rewardbench2'" in done.err) == (2, True)


def test_the_hooks_run(world: World) -> None:
    for hook in hooks():
        name, *arguments = shlex.split(hook["entry"])
        assert (name, hook["language"], hook["pass_filenames"]) == ("rewardsmith", "system", False)
        assert world(*arguments).code == 0
        assert re.search(hook["files"], "reward-model/data/pairs.jsonl")
        assert not re.search(hook["files"], "src/reward-model.py")


def test_a_hook_stops_a_commit_of_faulty_data(world: World) -> None:
    """Planted: a file whose last row is cut off."""
    path = world.folder / "train.jsonl"
    path.write_text(path.read_text()[:-40])
    codes = [world(*shlex.split(hook["entry"])[1:]).code for hook in hooks()]
    assert all(code in (1, 2) for code in codes), codes
