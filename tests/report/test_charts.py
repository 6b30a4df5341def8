"""Drawings: coordinates worked out by hand, gaps, escaping, words for those who do not see them."""

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from rewardsmith.report import svg
from rewardsmith.report.formatting import count, p_value, percent, sparkline
from rewardsmith.report.sections.scores import ScoreRow, score_strip
from rewardsmith.report.svg import LineChart, line_chart, trend_line


def row(name: str = "Math") -> ScoreRow:
    return ScoreRow(
        name=name,
        n=count(120),
        missing=0,
        score=percent(0.5),
        low=percent(0.25),
        high=percent(0.75),
        baselines=(percent(0.25), percent(0.0), percent(None)),
        p_value=p_value(0.01),
        reading="",
        state="good",
    )


def test_a_score_strip_puts_numbers_where_they_belong() -> None:
    drawn = str(score_strip(row(), ("random", "length-only", "bag of words")))
    assert '<circle cx="150" cy="14" r="5" class="dot good">' in drawn  # 10 + 0.5 · 280
    assert '<rect x="80" y="11" width="140" height="6" rx="3" class="whisker good">' in drawn  # 10 + 0.25 · 280
    assert '<line x1="80" y1="2" x2="80" y2="26" class="chance">' in drawn
    assert "mark length" in drawn
    assert "mark blind" not in drawn
    assert 'aria-label="Math: 50.0 per cent, interval 25.0 to 75.0; random 25.0, length-only 0.0"' in drawn


def test_text_and_attributes_are_escaped() -> None:
    drawn = str(score_strip(row('"><script>'), ("random", "length-only", "words")))
    assert "<script" not in drawn
    assert "&#34;&gt;&lt;script&gt;" in drawn
    assert str(svg.text(0, 0, "<b>&")).endswith(">&lt;b&gt;&amp;</text>")
    assert svg.element("g", Markup("<i></i>")) == "<g><i></i></g>"


def test_a_gap_parts_a_line_and_a_lone_point_stays_a_dot() -> None:
    nan = math.nan
    assert svg.path_through([(0, 1), (1, 2), (2, nan), (3, 4)]) == "M0 1h0L1 2M3 4h0"
    assert svg.area_between([0, 1, 2, 3], [1, 1, nan, 1], [0, 0, 0, 0]) == "M0 1L1 1L1 0L0 0ZM3 1L3 0Z"


@given(
    st.floats(-1e6, 1e6, allow_nan=False), st.floats(1e-6, 1e6, allow_nan=False), st.integers(min_value=2, max_value=8)
)
def test_ticks_lie_within_and_are_evenly_apart(low: float, span: float, target: int) -> None:
    high = low + span
    ticks = svg.nice_ticks(low, high, target)
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert len(ticks) <= target + 1
    gaps = [later - earlier for earlier, later in pairwise(ticks)]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-3, abs_tol=slack) for gap in gaps)


def test_round_ticks() -> None:
    assert svg.nice_ticks(0, 1) == [0, 0.5, 1.0]
    assert svg.nice_ticks(0.05, 0.42, 5) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert svg.nice_ticks(3, 3) == [3]
    assert svg.nice_ticks(math.nan, 1) == []


def test_a_line_chart_speaks_and_writes_its_last_value() -> None:
    steps = [1.0, 2.0, 3.0]
    drawn = str(line_chart(LineChart("Loss over 3 steps", steps, [3.0, 2.0, 1.0], [3.0, 2.0, 1.25])))
    assert 'role="img" aria-label="Loss over 3 steps"' in drawn
    assert ">1.25</text>" in drawn
    assert drawn.count("<svg") == 1


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0], [math.nan, math.nan], [0.0, 1e-9], [-1e9, 1e9]])
def test_odd_series_are_drawn_with_finite_coordinates(values: list[float]) -> None:
    steps = [float(step) for step in range(1, len(values) + 1)]
    drawn = str(line_chart(LineChart("x", steps, values, values, band=(values, values), references={"guess": 0.5})))
    assert not re.search(r'"[^"]*(nan|inf)[^"]*"', drawn)


def test_the_trend_line_passes_through_the_median_and_stays_in_the_chart() -> None:
    steps, values = [1.0, 2.0, 3.0, 4.0], [1.0, 9.0, 5.0, 7.0]
    (x1, y1), (x2, y2) = trend_line(steps, values, 2.0)
    # value − 2·step: −1, 5, −1, −1; their median is −1
    assert (x1, y1, x2, y2) == (1.0, 1.0, 4.0, 7.0)
    assert trend_line(steps, [math.nan] * 4, 2.0) is None
    drawn = str(line_chart(LineChart("x", steps, values, values, trend=((1.0, -100.0), (4.0, 100.0)))))
    trend = re.search(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="trend">', drawn)
    assert all(10 <= float(trend[index]) <= 176 for index in (2, 4))


def test_every_state_has_a_sign_of_its_own() -> None:
    assert len({str(svg.sign(state)) for state in ("good", "bad", "warn", "open")}) == 4


def test_sparkline() -> None:
    assert sparkline([0.0, 0.5, math.nan, 1.0]) == "▁▅ █"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert len(sparkline([float(index) for index in range(1000)])) == 40
