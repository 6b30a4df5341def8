"""A bound on wrong confident verdicts and temperatures by subset: calibrated, then used by `route run` and `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from routing_files import calibrate, pair_rows, plant_model, routed, spec

from rewardsmith.errors import DataError, SpecError
from rewardsmith.pipeline.commands.route import ServedRouting, serving_router
from rewardsmith.records.routing import RoutingRecord
from rewardsmith.report.sections.judges import routing_block
from rewardsmith.routing import Target
from rewardsmith.serving.engine import ModelInfo
from rewardsmith.spec import load_spec

WRONG = {"target": {"kind": "wrong", "value": 0.1, "confidence": 0.9}}


@pytest.fixture
def scripted_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model answers what is planted in the texts."""
    plant_model(monkeypatch)


def wrong_alone(rows: list[dict[str, Any]], limit: float) -> tuple[int, int]:
    """(decided, wrong) of the planted model at a limit on the probability, from the rows themselves."""
    margins = [float(row["chosen"].split()[0].removeprefix("reward=")) * 2 for row in rows]
    decided = [margin for margin in margins if 1 / (1 + np.exp(-abs(margin))) >= limit]
    return len(decided), sum(margin < 0 for margin in decided)


@pytest.mark.usefixtures("scripted_model")
def test_the_certified_limit_keeps_its_word_on_new_pairs(tmp_path: Path) -> None:
    record = calibrate(tmp_path, pair_rows(2_400), spec=spec(**WRONG), pairs=None)
    found = record.abstention
    assert found is not None
    assert (found.tested, found.fitted, found.needed) == (1600, 800, 22)
    assert (record.target.kind, record.target.value, record.target.confidence) == ("wrong", 0.1, 0.9)
    assert record.target.reached
    assert found.steps[-2].limit == record.chosen.limit == record.rules[0].below
    decided, wrong = wrong_alone(pair_rows(5_000, seed=8), record.chosen.limit)
    assert decided > 1_500
    assert wrong / decided <= 0.1
    assert record.checked is None
    block = routing_block(record)
    assert block is not None
    assert any("at most 10 % of the comparisons" in str(line) for line in block.lines)
    assert block.grids[0].caption.startswith("Limits on wrong confident verdicts, tested on 1,600 prompts")
    assert len(block.grids[0].rows) == len(found.steps)
    assert dict(block.facts)["Target"] == "wrong 0.1 with confidence 0.9, reached"


@pytest.mark.usefixtures("scripted_model")
def test_what_is_fitted_never_sees_the_test(tmp_path: Path) -> None:
    # Without a temperature of its own the model gets one from the fitting third: margins of the others may be anything.
    first = calibrate(tmp_path, pair_rows(900), spec=spec(**WRONG), models=("uncalibrated",))
    every = calibrate(tmp_path, pair_rows(900), spec=spec(), models=("uncalibrated",), out=tmp_path / "other")
    assert first.temperature != every.temperature
    assert first.temperature == pytest.approx(1.0, rel=0.4)


@pytest.mark.usefixtures("scripted_model")
def test_too_few_pairs_are_refused_and_a_blind_model_decides_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="calibrate on pairs of at least 33 prompts"):
        calibrate(tmp_path, pair_rows(30), spec=spec(**WRONG))
    blind = [
        row | {"chosen": f"reward={(-1) ** (n % 3 == 0) * n} quality=2", "rejected": "reward=0 quality=1"}
        for n, row in enumerate(pair_rows(300), start=1)
    ]
    record = calibrate(tmp_path, blind, spec=spec(**WRONG))  # one in three is wrong, however sure
    assert not record.target.reached
    assert record.chosen.share == 1.0
    assert "No limit is certified" in record.abstention.statement  # type: ignore[union-attr]
    done, _ = routed(tmp_path, pair_rows(50), routing=WRONG, calibration=tmp_path / "routing")
    assert done.escalated == 50


@pytest.mark.usefixtures("scripted_model")
def test_a_file_is_routed_by_the_certified_limit(tmp_path: Path) -> None:
    record = calibrate(tmp_path, pair_rows(2_400), target=Target("wrong", 0.1), pairs=None)
    assert record.target.reached
    new = pair_rows(1_000, seed=5)
    done, _ = routed(tmp_path, new, routing={}, calibration=tmp_path / "routing")
    assert done.escalated == 1_000 - wrong_alone(new, record.chosen.limit)[0]


def two_subsets(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Math is four times as unsure as its margins say; Code is calibrated."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        scale = 4.0 if number % 2 else 1.0
        size = float(np.abs(rng.normal(0, 3)))
        margin = size if rng.random() < 1 / (1 + np.exp(-size / scale)) else -size
        rows.append(
            {
                "id": f"p{number}",
                "prompt": f"Question {number}?",
                "chosen": f"reward={margin / 2:.6f} quality=2",
                "rejected": f"reward={-margin / 2:.6f} quality=1",
                "subset": "Math" if number % 2 else "Code",
            }
        )
    return rows


BY_SUBSET = {"temperature": "by_subset"}


@pytest.mark.usefixtures("scripted_model")
def test_a_subset_with_a_temperature_of_its_own_is_routed_by_it(tmp_path: Path) -> None:
    record = calibrate(tmp_path, two_subsets(1_000), spec=spec(**BY_SUBSET), target=Target("share", 0.5))
    found = {one.subset: one for one in record.subset_temperatures}
    assert found["Math"].used
    assert found["Math"].temperature == pytest.approx(4.0, rel=0.3)
    assert not found["Code"].used  # the checkpoint's temperature of 1 is already right
    pooled = calibrate(tmp_path, two_subsets(1_000), spec=spec(), target=Target("share", 0.5), out=tmp_path / "pooled")
    assert pooled.subset_temperatures == ()
    rows = two_subsets(400, seed=3)
    _, own = routed(tmp_path, rows, routing=BY_SUBSET, calibration=tmp_path / "routing")
    _, same = routed(tmp_path, rows, routing={}, calibration=tmp_path / "pooled", overwrite=True)

    def of_math(found: list[Any]) -> int:
        return sum(row.escalated for row, given in zip(found, rows, strict=True) if given["subset"] == "Math")

    assert of_math(own) > 1.3 * of_math(same)  # the overconfident subset is asked about more
    block = routing_block(record)
    assert block is not None
    assert "Temperature by subset" in [grid.caption for grid in block.grids]


def test_a_server_refuses_temperatures_that_no_request_can_name(tmp_path: Path, record: RoutingRecord) -> None:
    (tmp_path / "routing.json").write_text(record.model_dump_json(by_alias=True))
    judge = {"endpoint": "http://judge/v1", "model": "j"}
    text = yaml.safe_dump({"output_dir": str(tmp_path / "runs"), "judge": judge, "routing": BY_SUBSET})
    (tmp_path / "spec.yaml").write_text(text)
    options = ServedRouting(tmp_path / "spec.yaml", calibration=tmp_path / "routing.json")
    with pytest.raises(SpecError, match="gives Math a temperature of their own, and a request names no subset"):
        serving_router(options, {"m": ModelInfo("m", temperature=1.0)}, False, print)


@pytest.fixture
def record(tmp_path: Path, scripted_model: None) -> RoutingRecord:
    return calibrate(tmp_path, two_subsets(1_000), spec=spec(**BY_SUBSET))


@pytest.mark.parametrize("value", [0.0, 0.5, 0.9])
def test_a_share_of_wrong_verdicts_that_is_none_is_refused(tmp_path: Path, value: float) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({"routing": {"target": {"kind": "wrong", "value": value}}}))
    with pytest.raises(SpecError, match="no share of wrong verdicts to aim at"):
        load_spec(tmp_path / "spec.yaml")
