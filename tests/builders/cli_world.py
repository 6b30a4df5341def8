"""A small world for tests of the command line: a tiny base, files of pairs, benchmark rows, and calls of the CLI."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import make_pairs
from rewardsmith.cli import main
from rewardsmith.types import Conversation, PreferencePair


@dataclass(frozen=True)
class Answer:
    """What one call of the command line gave."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class World:
    """Files in one folder, and calls of `rewardsmith` from inside it."""

    def __init__(self, folder: Path, base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
        self.folder = folder
        self.base = base
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.setenv("REWARDSMITH_CACHE", str(folder / "cache"))
        self.write_pairs("train.jsonl", make_pairs(40, seed=1))
        self.write_pairs("held_out.jsonl", [renamed(pair, "h") for pair in make_pairs(60, seed=2)[45:]])
        self.write_rows("rows.jsonl")

    def spec(self, **changes: Any) -> dict[str, Any]:
        """A spec that trains for ten steps; `changes` replace whole sections."""
        return {
            "name": "tiny",
            "base_model": {"id": str(self.base)},
            "data": {
                "train": [{"path": "train.jsonl"}],
                "held_out": {"sources": [{"path": "held_out.jsonl"}]},
                "max_length": 200,
            },
            "hardware": {"device": "cpu", "threads": 1},
            "training": {"pairs_per_step": 4, "learning_rate": 1e-3, "checkpoint_every_steps": 4},
            "evaluation": {"benchmarks": [{"name": "rewardbench2", "data": "rows.jsonl"}], "bootstrap": 200},
            **changes,
        }

    def write_spec(self, **changes: Any) -> str:
        (self.folder / "spec.yaml").write_text(yaml.safe_dump(self.spec(**changes)))
        return "spec.yaml"

    def write_pairs(self, name: str, pairs: list[PreferencePair]) -> None:
        lines = [json.dumps(as_row(pair)) for pair in pairs]
        (self.folder / name).write_text("\n".join(lines) + "\n")

    def write_rows(self, name: str) -> None:
        """Six rows in RewardBench 2's schema: two subsets of 1 of 4, and a Ties id with both halves."""
        rows = [
            {"id": str(i), "subset": subset, "prompt": f"Say {i}.", "chosen": [f"{i}"], "rejected": ["a", "b", "c"]}
            for subset in ("Math", "Focus")
            for i in range(2)
        ]
        rows.append({"id": "ref:0", "subset": "Ties", "prompt": "A colour?", "chosen": ["red"], "rejected": ["stone"]})
        rows.append(
            {"id": "tied:0", "subset": "Ties", "prompt": "Any?", "chosen": ["red", "blue"], "rejected": ["stone", "up"]}
        )
        (self.folder / name).write_text("\n".join(json.dumps(row) for row in rows) + "\n")

    def __call__(self, *arguments: str) -> Answer:
        """Call `rewardsmith ARGUMENTS` in this process."""
        self._monkeypatch.setattr(sys, "argv", ["rewardsmith", *arguments])
        self._capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = self._capsys.readouterr()
        return Answer(code, captured.out, captured.err)


def as_row(pair: PreferencePair) -> dict[str, Any]:
    """A pair as it stands on disk."""

    def turns(conversation: Conversation) -> list[dict[str, str]]:
        return [{"role": turn.role, "content": turn.content} for turn in conversation]

    return {
        "prompt": turns(pair.prompt),
        "chosen": turns(pair.chosen),
        "rejected": turns(pair.rejected),
        "id": pair.id,
        "source": pair.source,
        "subset": pair.subset,
    }


def renamed(pair: PreferencePair, prefix: str) -> PreferencePair:
    return PreferencePair(pair.prompt, pair.chosen, pair.rejected, id=prefix + pair.id, source="held", subset="words")
