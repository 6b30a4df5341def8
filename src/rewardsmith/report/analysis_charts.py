"""Drawings beside the scores: reliability of stated confidences, best-of-n, skills on one scale.

reliability_plot(found)     stated confidence against the share that is right
picking_plot(found)         gold quality of the pick over n, between random and oracle
reward_plot(found)          reward of the pick over n
skill_strip(row), skill_axis()
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from rewardsmith.report.analyses import Picking, Reliability, Skill
from rewardsmith.report.charts import curve, end_label
from rewardsmith.report.formatting import significant
from rewardsmith.report.svg import Scale, area_between, drawing, element, line, nice_ticks, text

_WIDTH, _HEIGHT = 380.0, 214.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 318.0, 10.0, 176.0
_STRIP = 300.0
_SKILLS = Scale(-0.25, 1.0, 10.0, _STRIP - 10.0)
_LOG_FROM = 32


def reliability_plot(found: Reliability) -> Markup:
    """Bins as dots with their intervals; on the dashed diagonal a stated confidence is what happens."""
    lowest = min((point.low for point in found.points), default=0.5)
    x = Scale(0.5, 1.0, _LEFT, _RIGHT)
    y = Scale(max(0.0, min(0.4, math.floor(10 * lowest) / 10)), 1.0, _BOTTOM, _TOP)
    parts = [*_frame(x, y, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "stated", per_cent=True)]
    parts.append(line(x(0.5), y(0.5), x(1.0), y(1.0), "chance"))
    for point in found.points:
        at = x.clamped(point.confidence)
        parts.append(line(at, y(point.low), at, y(point.high), "spread"))
        parts.append(element("circle", cx=at, cy=y(point.accuracy), r=4, class_="end"))
    spoken = ", ".join(
        f"{100 * point.confidence:.0f} stated {100 * point.accuracy:.0f} right" for point in found.points
    )
    return drawing(_WIDTH, _HEIGHT, f"Stated confidence and share of pairs ordered rightly, per cent: {spoken}", *parts)


def picking_plot(found: Picking) -> Markup:
    """Gold quality of the picked answer, its interval as a band, between any answer and the best one."""
    points = found.curve.points
    steps = [point.n for point in points]
    bounds = [value for point in points for value in (point.gold_low, point.gold_high, point.oracle, point.random)]
    x, y = _steps_scale(steps), Scale(min(bounds), max(bounds), _BOTTOM, _TOP)
    xs = [x(_place(n, steps)) for n in steps]
    parts = [*_frame(x, y, _step_ticks(steps), "n", steps=steps)]
    high, low = ([y(getattr(point, side)) for point in points] for side in ("gold_high", "gold_low"))
    parts.append(element("path", d=area_between(xs, high, low), class_="band"))
    for name, values in (("best", [point.oracle for point in points]), ("any", [point.random for point in points])):
        parts.append(curve(xs, values, y, "bound"))
        parts.append(text(_RIGHT + 6, y(values[-1]) + 3.5, name, "tick faint"))
    gold = [point.gold for point in points]
    parts.append(curve(xs, gold, y, "smooth"))
    parts += end_label(xs[-1], gold[-1], y, _RIGHT + 6, [y(points[-1].oracle), y(points[-1].random)])
    if found.curve.turns_down_at is not None:
        turn = x(_place(found.curve.turns_down_at, steps))
        parts.append(line(turn, _TOP, turn, _BOTTOM, "chance"))
    spoken = ", ".join(f"{point.gold:.3f} at {point.n}" for point in points)
    return drawing(_WIDTH, _HEIGHT, f"Gold quality of the picked answer over n: {spoken}", *parts)


def reward_plot(found: Picking) -> Markup:
    """Reward of the picked answer: it rises whatever the gold quality does."""
    points = found.curve.points
    steps, rewards = [point.n for point in points], [point.reward for point in points]
    x, y = _steps_scale(steps), Scale(min(rewards), max(rewards), _BOTTOM, _TOP)
    xs = [x(_place(n, steps)) for n in steps]
    parts = [*_frame(x, y, _step_ticks(steps), "n", steps=steps)]
    parts.append(curve(xs, rewards, y, "smooth"))
    parts += end_label(xs[-1], rewards[-1], y, _RIGHT + 6, [])
    spoken = f"from {significant(rewards[0])} at 1 to {significant(rewards[-1])} at {steps[-1]}"
    return drawing(_WIDTH, _HEIGHT, f"Reward of the picked answer over n: {spoken}", *parts)


def skill_axis() -> Markup:
    """The skills over a column of skill strips."""
    ticks = [text(_SKILLS(skill), 12, f"{skill:g}", anchor="middle") for skill in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return drawing(_STRIP, 16, "", *ticks, class_="chart strip")


def skill_strip(row: Skill) -> Markup:
    """Dot and whisker; 0 is guessing, 1 is perfect."""
    parts = [element("rect", x=_SKILLS(0), y=9, width=_SKILLS(1) - _SKILLS(0), height=10, rx=2, class_="rail")]
    parts += [line(_SKILLS(skill), 5, _SKILLS(skill), 23, "grid") for skill in (0.25, 0.5, 0.75, 1.0)]
    parts.append(line(_SKILLS(0), 2, _SKILLS(0), 26, "chance"))
    if row.low.value is not None and row.high.value is not None:
        left, right = _SKILLS.clamped(row.low.value), _SKILLS.clamped(row.high.value)
        width = max(right - left, 1)
        parts.append(element("rect", x=left, y=11, width=width, height=6, rx=3, class_=f"whisker {row.state}"))
    if row.skill.value is not None:
        parts.append(element("circle", cx=_SKILLS.clamped(row.skill.value), cy=14, r=5, class_=f"dot {row.state}"))
    label = f"{row.title}: skill {row.skill}, interval {row.low} to {row.high}"
    return drawing(_STRIP, 28, label, *parts, class_="chart strip")


def _frame(
    x: Scale, y: Scale, ticks: Sequence[float], unit: str, *, per_cent: bool = False, steps: Sequence[int] = ()
) -> list[Markup]:
    """Grid, ticks and the axis below."""
    parts = []
    for tick in nice_ticks(y.low, y.high, target=5):
        written = f"{100 * tick:.0f}" if per_cent else "0" if abs(tick) < 1e-12 else significant(tick).text
        parts += [line(_LEFT, y(tick), _RIGHT, y(tick), "grid"), text(_LEFT - 7, y(tick) + 3.5, written, anchor="end")]
    for tick in ticks:
        at = x(_place(tick, steps)) if steps else x(tick)
        parts.append(text(at, _BOTTOM + 17, f"{100 * tick:.0f}" if per_cent else f"{tick:,.0f}", anchor="middle"))
    parts.append(line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, "axis"))
    return [*parts, text(_WIDTH, _BOTTOM + 17, unit, anchor="end")]


def _steps_scale(steps: Sequence[int]) -> Scale:
    return Scale(_place(steps[0], steps), _place(steps[-1], steps), _LEFT, _RIGHT)


def _place(n: float, steps: Sequence[int]) -> float:
    """Few answers lie evenly; many by their logarithm."""
    return math.log2(n) if steps and steps[-1] > _LOG_FROM else float(n)


def _step_ticks(steps: Sequence[int]) -> list[float]:
    if steps[-1] > _LOG_FROM:
        return [2.0**power for power in range(0, int(math.log2(steps[-1])) + 1, 2)]
    gap = max(1, math.ceil(len(steps) / 8))
    return [float(n) for n in steps[::gap]]
