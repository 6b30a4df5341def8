"""`serve --watch`: the gauges that a watch wrote stand in `/metrics`, and a file that is none breaks no scrape."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving_world import World, serving
from watch_world import rows, write_log

from rewardsmith.records.watch import WatchRecord
from rewardsmith.watching import GAUGES_FILE, Settings, Stream, Watcher, exposition, record_of

Samples = dict[str, list[tuple[dict[str, str], float]]]
NOW = 1_700_000_000.25


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> WatchRecord:
    log = write_log(tmp_path_factory.mktemp("watched") / "log.jsonl", rows("null", steps=30))
    watcher = Watcher(Settings(reference_steps=20))
    for read in Stream(log).poll(last=True):
        watcher.add(read)
    return record_of(watcher, source="log.jsonl", form="plain", by="nobody", last=True)


def samples(text: str) -> Samples:
    return {
        family.name: [(one.labels, one.value) for one in family.samples]
        for family in text_string_to_metric_families(text)
    }


def scraped(world: World) -> Samples:
    found = world.get("/metrics")
    assert found.status == 200
    return samples(found.body.decode())


def test_the_scrape_has_the_gauges_of_the_file_beside_its_own(record: WatchRecord, tmp_path: Path) -> None:
    text = exposition(record, NOW)
    with serving(watch=tmp_path / GAUGES_FILE) as world:
        before = scraped(world)
        assert [name for name in before if "watch" in name] == ["rewardsmith_watch_readable"]
        assert before["rewardsmith_watch_readable"] == [({}, 0)], "the watch has not begun"
        (tmp_path / GAUGES_FILE).write_text(text)
        after = scraped(world)
    written = samples(text)
    assert {name: found for name, found in after.items() if name in written} == written
    watched = {name for name in after if name.startswith("rewardsmith_watch_")}
    assert watched == {*written, "rewardsmith_watch_readable"}
    assert "rewardsmith_reward_mean" in after
    assert after["rewardsmith_watch_readable"] == [({}, 1)]
    assert written["rewardsmith_watch_time_seconds"] == [({}, NOW)]
    assert written["rewardsmith_watch_step"] == [({}, 30)]
    assert written["rewardsmith_watch_answers"] == [({}, 30 * 32)]
    assert written["rewardsmith_watch_kl_mean"] == [], "the log has none"
    outcomes = {labels["outcome"]: value for labels, value in written["rewardsmith_watch_outcome"]}
    assert outcomes == {"fine": 1, "warning": 0, "alarm": 0, "short": 0}
    shown = {labels["signal"]: value for labels, value in written["rewardsmith_watch_signal"]}
    assert shown == {one.code: one.last for one in record.signals if one.last is not None}
    assert len(shown) >= 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text + "rewardsmith_requests_total 1\n",
        lambda text: text + "\n",
        lambda text: text.replace("} 1", '} 1 "', 1),
        lambda text: text + "# HELP rewardsmith_watch_x y\n" * 5_000,
        lambda text: "",
    ],
)
def test_a_file_that_is_not_whole_is_said_and_left_out(damage: object, record: WatchRecord, tmp_path: Path) -> None:
    assert callable(damage)
    (tmp_path / GAUGES_FILE).write_text(damage(exposition(record, NOW)))
    with serving(watch=tmp_path / GAUGES_FILE) as world:
        found = scraped(world)
    assert [name for name in found if "watch" in name] == ["rewardsmith_watch_readable"]
    assert found["rewardsmith_watch_readable"] == [({}, 0)]
    assert "rewardsmith_reward_mean" in found


def test_without_a_watch_nothing_is_said_of_one() -> None:
    with serving() as world:
        assert [name for name in scraped(world) if "watch" in name] == []
