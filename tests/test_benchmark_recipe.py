"""The recipe of CONTRIBUTING: a benchmark is one file and one line, and is then known everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rewardsmith import benchmarks
from rewardsmith.errors import SpecError
from rewardsmith.evaluation import BENCHMARKS, Benchmark, EvalRow, find_benchmark
from rewardsmith.evaluation.judged import protocol_of
from rewardsmith.spec import Spec, load_spec
from rewardsmith.types import Message

FILE = """
from rewardsmith.evaluation.contract import Benchmark, equal_weights
from rewardsmith.evaluation.contract import no_details, pair_baseline, pair_tally

TOY = Benchmark(
    name="toy", title="Toy", protocol="Toy.", load=None, subsets=("bricks", "dolls"),
    tally=lambda subset, rows, rewards: pair_tally(rows, rewards, equal=0.0), baseline=pair_baseline,
    average=equal_weights, details=no_details, known_chance={"bricks": 0.5}, judged=lambda row: "rating",
)
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    module = ModuleType("toy_benchmark")
    exec(FILE, module.__dict__)  # noqa: S102 - the one file
    monkeypatch.setitem(sys.modules, "toy_benchmark", module)
    monkeypatch.setitem(benchmarks.BENCHMARKS, "toy", "toy_benchmark:TOY")  # the one line
    return module.TOY


def spec(tmp_path: Path, **minimum: float) -> Spec:
    rules = ", ".join(f"{name}: {value}" for name, value in minimum.items())
    text = f"evaluation: {{benchmarks: [{{name: toy, data: x.jsonl}}], gates: {{minimum: {{toy: {{{rules}}}}}}}}}\n"
    (tmp_path / "spec.yaml").write_text(text)
    return load_spec(tmp_path / "spec.yaml", [])


def test_it_is_found_judged_and_guarded_by_the_spec(toy: Benchmark, tmp_path: Path) -> None:
    assert find_benchmark("toy") is toy
    assert list(BENCHMARKS)[-1] == "toy"
    row = EvalRow(
        "1", "bricks", (Message("user", "q"),), ((Message("assistant", "a"),),), ((Message("assistant", "b"),),)
    )
    assert protocol_of(toy, row) == "rating"
    assert spec(tmp_path, bricks=0.6, dolls=0.2).evaluation.gates.minimum["toy"] == {"bricks": 0.6, "dolls": 0.2}
    with pytest.raises(SpecError, match=r"not above the random baseline 0\.5"):
        spec(tmp_path, bricks=0.5)
    with pytest.raises(SpecError, match="toy has no subset 'brick'"):
        spec(tmp_path, brick=0.9)


def test_help_and_the_spec_page_name_it(tmp_path: Path) -> None:
    (tmp_path / "toy_benchmark.py").write_text(FILE)
    code = (
        "import sys; from rewardsmith import benchmarks; benchmarks.BENCHMARKS['toy'] = 'toy_benchmark:TOY'; "
        "from rewardsmith.cli.options import BenchmarkName; print(BenchmarkName.__metadata__[0].help); "
        "from rewardsmith.spec import BenchmarkSpec; print(BenchmarkSpec.model_fields['name'].description); "
        "print('rewardsmith.evaluation' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    shown, described, loaded = done.stdout.splitlines()
    assert shown.endswith("best_of_n or toy.")
    assert described.endswith("best_of_n, toy.")
    assert loaded == "False"  # names are known before any code of a benchmark is


def test_every_address_leads_to_the_benchmark_of_that_name() -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.name == name
        known = benchmark.known_chance
        assert not isinstance(known, dict) or set(known) <= set(benchmarks.subsets_of(name))
    assert benchmarks.chance_of("best_of_n", "anything") is None
    assert benchmarks.chance_of("no such", "average") is None
    assert (benchmarks.subsets_of("no such"), benchmarks.subsets_of("pairs")) == ((), ())
