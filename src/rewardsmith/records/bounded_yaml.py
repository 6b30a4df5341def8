"""YAML of others within bounds: a few hundred bytes of aliases can stand for millions of nodes.

    parse_yaml(text)                                  the only document
    yaml.compose_all(text, Loader=BoundedLoader)      nodes with their places

Beside `bounded.py`, because PyYAML is slow to import and most records are JSON.
"""

from __future__ import annotations

from typing import Any

import yaml

YAML_SIZE = 2**19
"""Characters; PyYAML reads about 200,000 a second."""

YAML_DEPTH = 50
YAML_NODES = 100_000
"""With every alias counted as what it stands for."""

YAML_SCALAR = 100
"""Longest number or date; texts may be longer."""


class BoundedLoader(yaml.SafeLoader):
    """Plain YAML within limits; every alias counts as the nodes that it stands for."""

    def __init__(self, stream: str) -> None:
        if len(stream) > YAML_SIZE:
            raise yaml.YAMLError(f"{len(stream):,} characters (limit {YAML_SIZE:,})")
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count before descending."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._sizes:
                raise self._refusal(f"the alias *{event.anchor} stands inside of what it names", event)
            self._count(self._sizes.get(str(event.anchor), 1), event)
            return super().compose_node(parent, index)
        self._count(1, event)
        self._depth += 1
        if self._depth > YAML_DEPTH:
            raise self._refusal(f"nested deeper than {YAML_DEPTH} levels", event)
        before = self._nodes
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._nodes - before + 1
        return node

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > YAML_NODES:
            raise self._refusal(f"more than {YAML_NODES:,} values, with aliases written out", event)

    def _refusal(self, problem: str, event: Any) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A number or date that Python cannot hold is an error of its line."""
        texts = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:binary")
        if isinstance(node, yaml.ScalarNode) and node.tag not in texts and len(node.value) > YAML_SCALAR:
            raise yaml.MarkedYAMLError(
                problem=f"a number or date of {len(node.value):,} characters (limit {YAML_SCALAR})",
                problem_mark=node.start_mark,
            )
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError) as error:
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from error


def parse_yaml(text: str, loader: type[BoundedLoader] = BoundedLoader) -> Any:
    """The only document of a text.

    Raises:
        yaml.YAMLError: not YAML, or beyond a limit.
    """
    return yaml.load(text, Loader=loader)  # noqa: S506 - a SafeLoader
