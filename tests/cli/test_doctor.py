"""`rewardsmith doctor` as a user runs it: what it prints, what it writes, how it ends, and that it is light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rewardsmith.cli.app import application
from rewardsmith.errors import UserError

HEAVY = ("torch", "transformers", "trl", "datasets", "pyarrow", "scipy")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("from trl import ORPOTrainer  # odds\nORPOTrainer(tokenizer=1)\n")
    return path


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(application(), ["doctor", *map(str, arguments)], catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_versions_alone_end_well() -> None:
    code, said = run()
    assert code == 0
    assert "transformers" in said


def test_an_error_ends_with_one_and_names_place_reason_and_fix(script: Path) -> None:
    code, said = run(script)
    assert code == 1
    assert f"error  {script}:1  trl.ORPOTrainer" in said
    assert "CPO, ORPO, OnlineDPO and GKD left the stable interface (since trl 0.29.0)" in said
    assert "now: trl.experimental.orpo.ORPOTrainer" in said
    assert "try: import from trl.experimental [--fix]" in said
    assert "2 errors (1 files)" in said


def test_a_warning_alone_ends_well(script: Path) -> None:
    script.write_text("from transformers import AutoModel\nAutoModel.from_pretrained('x', torch_dtype='auto')\n")
    code, said = run(script)
    assert (code, "1 warnings (1 files)" in said) == (0, True)


def test_another_version_may_be_asked_for(script: Path) -> None:
    assert run(script, "--against", "trl==0.11.4")[0] == 0
    assert run(script, "--against", "trl==0.29")[0] == 1


def test_json_is_the_record(script: Path) -> None:
    code, said = run(script, "--json", "--against", "openrlhf==0.9.8")
    record = json.loads(said)
    assert (code, record["schema"], record["files"]) == (1, 1, 1)
    assert record["against"]["openrlhf"] == "0.9.8"
    assert "verl" in record["assumed"]
    assert "openrlhf" not in record["assumed"]
    first = record["findings"][0]
    assert (first["rule"], first["line"], first["fixable"]) == ("trl-cpo-orpo-moved", 1, True)


def test_fix_shows_a_diff_and_writes_nothing_unasked(script: Path) -> None:
    before = script.read_text()
    code, said = run(script, "--fix")
    assert "+from trl.experimental.orpo import ORPOTrainer  # odds" in said
    assert "nothing is written" in said
    assert (code, script.read_text()) == (1, before)


def test_fix_yes_writes_and_judges_what_is_left(script: Path) -> None:
    code, said = run(script, "--fix", "--yes")
    assert (
        script.read_text() == "from trl.experimental.orpo import ORPOTrainer  # odds\nORPOTrainer(processing_class=1)\n"
    )
    assert "left: nothing found" in said
    assert code == 0


def test_the_flags_of_a_command_are_one_finding(tmp_path: Path) -> None:
    path = tmp_path / "rm.sh"
    path.write_text("deepspeed --module openrlhf.cli.train_rm --save_path a --zero_stage 2 --max_epochs 1\n")
    record = json.loads(run(path, "--json")[1])
    [finding] = record["findings"]
    assert finding["found"] == "--save_path, --zero_stage, --max_epochs"
    assert finding["replacement"] == "--ckpt.output_dir, --ds.zero_stage, --train.max_epochs"


def test_a_checkpoint_folder_is_examined(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"task_type": "CAUSAL_LM"}')
    code, said = run(tmp_path)
    assert code == 1
    assert "the adapter has no reward head" in said
    assert "1 checkpoints" in said


def test_broken_files_are_listed_and_do_not_decide_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(:\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    code, said = run(tmp_path)
    assert code == 0
    assert f"not read: {tmp_path / 'a.py'}: line 1: invalid syntax" in said


@pytest.mark.parametrize("against", ["trl", "trl==new", "tlr==1.0"])
def test_a_version_that_is_none(against: str) -> None:
    with pytest.raises(UserError, match=r"--against"):
        run("--against", against)


def test_nothing_readable_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(:\n")
    with pytest.raises(UserError, match="invalid syntax"):
        run(tmp_path / "a.py")


def test_a_scan_loads_nothing_heavy(script: Path) -> None:
    code = (
        "import sys; sys.argv = ['rewardsmith', 'doctor', sys.argv[1]]\n"
        "from rewardsmith.cli import main\n"
        "try: main()\n"
        f"finally: print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(script)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
