"""What a command imports: no torch where nothing is scored or trained, and few of our own modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import report_records

from measure import walk

ROOT = Path(__file__).resolve().parents[1]
SLOW = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "pandas", "sklearn"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "demo"
    report_records.build_run(folder)
    return folder


@pytest.mark.parametrize(
    ("command", "most"),
    [("--version", 30), ("ls RUNS", 130), ("report RUN --no-texts", 105), ("doctor", 50)],
)
def test_a_command_that_reads_records_loads_no_torch_and_few_modules(run: Path, command: str, most: int) -> None:
    names = {"RUN": str(run), "RUNS": str(run.parent)}
    found = walk(ROOT, *(names.get(word, word) for word in command.split()))
    assert found.code in (0, 1)  # 1: doctor may find something
    assert set(found.others) & SLOW == set()
    assert len(found.loaded) <= most, found.loaded


def test_only_the_command_that_was_asked_for_is_imported(run: Path) -> None:
    found = walk(ROOT, "ls", str(run.parent))
    assert {name for name in found.loaded if name.startswith("rewardsmith.cli.")} == {
        "rewardsmith.cli.app",
        "rewardsmith.cli.ls",
        "rewardsmith.cli.options",
        "rewardsmith.cli.terminal",
    }


def test_a_report_with_texts_and_a_check_run_through_few_files(run: Path, tiny_base: Path, tmp_path: Path) -> None:
    """The texts are read again, so that readers of data and benchmarks are loaded too; still no torch."""
    report = walk(ROOT, "report", str(run))
    assert report.code == 0
    assert set(report.others) & SLOW == set()
    assert len(report.ran) <= 60
    assert len(report.loaded) <= 150

    rows = [json.dumps({"prompt": f"Say {word}.", "chosen": word, "rejected": "no"}) for word in "abcdefgh"]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    sets = (f"data.train=[{{path: {tmp_path}/train.jsonl}}]", f"base_model.id={tiny_base}", "data.fail_on=[]")
    spec = tmp_path / "spec.yaml"
    spec.write_text("name: tiny\n")
    arguments = [word for one in sets for word in ("--set", one)]
    check = walk(ROOT, "check", str(spec), *arguments, "--set", f"output_dir={tmp_path}")
    assert check.code in (0, 1)
    assert len(check.ran) <= 80
    assert len(check.loaded) <= 150
    assert not {"trl", "peft", "datasets"} & set(check.others)


def test_a_served_run_and_a_comparison_load_no_torch(run: Path) -> None:
    code = (
        "import sys, rewardsmith.pipeline.commands.compare\n"
        "from pathlib import Path; from rewardsmith.pipeline.commands.look import FollowedRun\n"
        f"assert '<html' in FollowedRun(Path({str(run)!r})).page()\n"
        f"print(sorted({SLOW!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_name_of_a_room_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, rewardsmith.scoring as room\n"
        "assert 'rewardsmith.scoring.remote' not in sys.modules\n"
        "assert room.RemoteScorer.__module__ == 'rewardsmith.scoring.remote'\n"
        "try: room.RemoteScorers\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("module 'rewardsmith.scoring' has no attribute 'RemoteScorers'; it has BestResponse,")


@pytest.mark.parametrize("room", ["evaluation", "pipeline", "rendering", "samples", "scoring"])
def test_no_lazy_name_is_that_of_a_module(room: str) -> None:
    """Importing such a module would put it in the name's place."""
    names = __import__(f"rewardsmith.{room}", fromlist=["x"])._HOMES
    folder = ROOT / "src" / "rewardsmith" / room
    assert {path.stem for path in folder.iterdir()} & set(names) == set()
    for home in names.values():
        place = folder.joinpath(*home.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
