"""The component map as a drawing: a box for each stage with the sign of how it ended, arrows that name what flows, and
on each arrow the sign of what was verified at that boundary.

Two layouts of the same map: `wide` snakes over two rows of four columns, `tall` is one column for narrow screens. The
page shows one of them; the contracts stand in the table below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from rewardsmith.report.component_map import Stage
from rewardsmith.report.formatting import visible
from rewardsmith.report.scores import State
from rewardsmith.report.svg import drawing, element, line, sign, text

_PIPE = ("data", "contract", "architecture", "training", "evaluation", "gates")
_FACT_CHARACTERS = 31


@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def wide_map(stages: Sequence[Stage]) -> Markup:
    """Two rows, read like a snake: data to training, then back to the report and the checkpoint."""
    width, gap, height = 222.0, 64.0, 122.0
    column = width + gap
    boxes = {key: _Box(column * index, 0, width, height) for index, key in enumerate(_PIPE[:4])}
    boxes |= {key: _Box(column * (3 - index), height + 62, width, height) for index, key in enumerate(_PIPE[4:])}
    boxes["report"] = _Box(column, height + 62, width, 56)
    boxes["checkpoint"] = _Box(column, height + 62 + 66, width, 56)
    found = {stage.key: stage for stage in stages}
    parts = [_box(found[key], box) for key, box in boxes.items()]
    parts += [_across(boxes[a], boxes[b], found[a]) for a, b in pairwise(_PIPE[:4])]
    parts.append(_down(boxes["training"], boxes["evaluation"], found["training"]))
    parts.append(_back(boxes["evaluation"], boxes["gates"], found["evaluation"]))
    parts += [_fork(boxes["gates"], boxes["report"], boxes["checkpoint"], found["gates"])]
    parts.append(_legend(0, height + 62))
    return drawing(3 * column + width, 2 * height + 64, _spoken(stages), *parts, class_="chart map wide")


def tall_map(stages: Sequence[Stage]) -> Markup:
    """One column."""
    width, gap = 340.0, 40.0
    parts, y = [], 0.0
    for index, stage in enumerate(stages):
        box = _Box(0, y, width, 44 + 18 * len(stage.progress.facts) + 6)
        parts.append(_box(stage, box))
        y += box.height
        if index < len(stages) - 1:
            joined = stage.key not in _PIPE
            parts.append(Markup("") if joined else _down(box, _Box(0, y + gap, width, 0), stage))
            y += 10 if joined else gap
    return drawing(width, y + 2, _spoken(stages), *parts, class_="chart map tall")


def _spoken(stages: Sequence[Stage]) -> str:
    return "Component map: " + "; ".join(
        ": ".join((stage.contract.title, ", ".join((stage.progress.word, *stage.progress.facts, *_verified(stage)))))
        for stage in stages
    )


def _verified(stage: Stage) -> tuple[str, ...]:
    return (stage.boundary.words,) if stage.boundary else ()


def _box(stage: Stage, box: _Box) -> Markup:
    state = stage.progress.state
    parts = [
        element(
            "rect",
            x=box.x + 0.75,
            y=box.y + 0.75,
            width=box.width - 1.5,
            height=box.height - 1.5,
            rx=9,
            class_=f"stage {state}",
        ),
        text(box.x + 16, box.y + 27, stage.contract.title, "title"),
        text(box.x + box.width - 36, box.y + 26, stage.progress.word, "word", "end"),
        element("g", sign(state), transform=f"translate({box.x + box.width - 30:.0f} {box.y + 14:.0f})"),
    ]
    parts += [
        text(
            box.x + 16,
            box.y + 50 + 20 * index if box.height > 60 else box.y + 45,
            visible(fact, _FACT_CHARACTERS),
            "fact",
        )
        for index, fact in enumerate(stage.progress.facts)
    ]
    return element("g", *parts)


def _across(start: _Box, end: _Box, stage: Stage) -> Markup:
    y, left, right = start.y + start.height / 2, start.x + start.width, end.x
    return _arrow((left + 4, y), (right - 3, y)) + _edge_label((left + right) / 2, y, stage)


def _back(start: _Box, end: _Box, stage: Stage) -> Markup:
    y, left, right = start.y + start.height / 2, end.x + end.width, start.x
    return _arrow((right - 4, y), (left + 3, y)) + _edge_label((left + right) / 2, y, stage)


def _down(start: _Box, end: _Box, stage: Stage) -> Markup:
    x, top, bottom = start.x + start.width / 2, start.y + start.height, end.y
    middle = (top + bottom) / 2
    label = text(x + 18, middle + 4, " ".join(stage.progress.edge).strip(), "flow")
    return _arrow((x, top + 4), (x, bottom - 3)) + _checked(x, middle - 2, stage) + label


def _fork(start: _Box, upper: _Box, lower: _Box, stage: Stage) -> Markup:
    """One arrow from the gates that parts into two: to the report and to the checkpoint."""
    middle, right, left = start.y + start.height / 2, start.x, upper.x + upper.width
    knee = left + 16
    parts = [line(right - 4, middle, knee, middle, "arrow")]
    for box in (upper, lower):
        y = box.y + box.height / 2
        parts += [line(knee, middle, knee, y, "arrow"), _arrow((knee, y), (left + 3, y))]
    return Markup("").join(parts) + _edge_label((knee + right) / 2, middle, stage)


def _edge_label(x: float, y: float, stage: Stage) -> Markup:
    above, below = stage.progress.edge
    return text(x, y - 13, above, "flow", "middle") + _checked(x, y, stage) + text(x, y + 23, below, "flow", "middle")


def _checked(x: float, y: float, stage: Stage) -> Markup:
    """The sign of what was verified at a boundary, on its arrow; a hovering pointer reads it."""
    if stage.boundary is None:
        return Markup("")
    words = element("title", f"{stage.contract.title}: {stage.boundary.words}")
    return element("g", words, sign(stage.boundary.state), transform=f"translate({x - 8:.1f} {y - 8:.1f})")


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    """A shaft and a head of its own: no marker ids, so that two drawings on a page cannot clash."""
    (x1, y1), (x2, y2) = start, end
    length = max(abs(x2 - x1), abs(y2 - y1)) or 1.0
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    base_x, base_y = x2 - 7 * dx, y2 - 7 * dy
    head = (
        f"M{x2:.1f} {y2:.1f}L{base_x - 4 * dy:.1f} {base_y + 4 * dx:.1f}L{base_x + 4 * dy:.1f} {base_y - 4 * dx:.1f}Z"
    )
    return line(x1, y1, base_x, base_y, "arrow") + element("path", d=head, class_="head")


def _legend(x: float, y: float) -> Markup:
    """What the signs mean, in the free corner."""
    meanings: dict[State, str] = {
        "good": "holds",
        "warn": "holds, with warnings",
        "bad": "does not hold",
        "open": "not run, not verified",
    }
    parts = []
    for index, (state, meaning) in enumerate(meanings.items()):
        top = y + 20 + 24 * index
        parts += [
            element("g", sign(state), transform=f"translate({x + 2:.0f} {top - 12:.0f})"),
            text(x + 26, top, meaning, "fact"),
        ]
    return Markup("").join(parts)
