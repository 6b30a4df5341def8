"""Every checkpoint that we write gives its ids and rewards in every version of transformers that consumers run.

Run by `make test-transformers`, which makes an environment for each version (versions.txt). A checkpoint that a version
cannot read is skipped by name, and printed with the reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from checkpoints import MODELS, make_cases

from rewardsmith.modeling.spellings import VERIFIED, VERIFIED_MODELS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PINNED = [line.split()[0] for line in (HERE / "versions.txt").read_text("utf-8").splitlines() if line.strip()]
TOLERANCE = 1e-4

OTHERWISE = {
    ("qwen2-window", "4.51.3"): "4.51 applies Qwen2's sliding window to every layer, whatever max_window_layers says",
}
"""Where a version computes something else from the same settings; asserted, so that its end is noticed."""

_GEMMA3 = ("gemma3", *(f"gemma3{lora} --to {to}" for lora in ("", "-lora") for to in ("hf", "vllm", "openrlhf")))
SKIPPED = {"4.51.3": {"smollm3", *_GEMMA3}}
"""What an old version does not know yet."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All checkpoints, written once by the version of this environment."""
    made = tmp_path_factory.mktemp("checkpoints")
    make_cases(made)
    return made


@pytest.mark.parametrize("version", [*PINNED, transformers.__version__])
def test_ids_and_rewards_are_the_same(version: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = loaded(version, folder)
    with capsys.disabled():
        print(table(version, found))
    assert {name for name, one in found.items() if "skipped" in one} == SKIPPED.get(version, set())
    wrong = {name: one for name, one in found.items() if "skipped" not in one and not right(one)}
    assert set(wrong) == {name for name, where in OTHERWISE if where == version}, wrong
    assert all(one["ids"] for one in found.values() if "ids" in one)


def test_the_versions_are_those_that_exports_name() -> None:
    assert (*PINNED, transformers.__version__) == VERIFIED
    assert {kind for kind, _ in MODELS.values()} == VERIFIED_MODELS


def right(one: dict[str, Any]) -> bool:
    """Rewards as they were in memory, alone and in a padded batch, in float32; NaN is not."""
    return "failed" not in one and one["ids"] and one["alone"] < TOLERANCE and one["padded"] < TOLERANCE


def loaded(version: str, folder: Path) -> dict[str, dict[str, Any]]:
    """What an interpreter with that version says of each checkpoint."""
    python = sys.executable
    if version != transformers.__version__:
        python = str(ROOT / ".venv-transformers" / version / "bin" / "python")
    quiet = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        [python, str(HERE / "load_checkpoints.py"), str(folder)], capture_output=True, text=True, env=quiet, check=False
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    versions = lines.pop(0)
    assert versions["transformers"] == version, versions
    assert all(str(Path(python).parents[1]) in versions[name] for name in ("from", "tokenizers", "hub")), versions
    return {line.pop("name"): line for line in lines}


def table(version: str, found: dict[str, dict[str, Any]]) -> str:
    """One line a checkpoint."""
    lines = [f"\ntransformers {version}"]
    for name, one in found.items():
        if "skipped" in one:
            said = f"skipped: {one['skipped']}"
        elif "failed" in one:
            said = one["failed"]
        else:
            ids = "equal" if one["ids"] else "DIFFERENT"
            said = f"ids {ids}, reward off by {max(one['alone'], one['padded']):.1e}"
        why = OTHERWISE.get((name, version))
        lines.append(f"  {name:24} {said}{f' ({why})' if why else ''}")
    return "\n".join(lines)
