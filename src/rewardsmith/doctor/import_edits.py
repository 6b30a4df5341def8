"""How an import or an attribute is rewritten when its name moved: spans of the source, everything else as it stands.

A name that has another name now keeps its old one in the file (`import New as Old`), so that its uses need no change.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewardsmith.doctor.hits import Edit
from rewardsmith.doctor.positions import Positions
from rewardsmith.doctor.rules import Rule, Severity


@dataclass(frozen=True)
class Imported:
    """One name of a `from … import …` that a rule knows; `new` is empty where it is gone."""

    alias: ast.alias
    full: str
    rule: Rule
    severity: Severity
    new: str


def import_edits(node: ast.ImportFrom, found: Sequence[Imported], positions: Positions) -> tuple[Edit, ...]:
    """Move the found names that have a new place; the other names of the statement stay where they are."""
    moved = {one.alias: one.new for one in found if one.new}
    if not moved or not positions.alone(node):
        return ()
    modules = {new.rpartition(".")[0] for new in moved.values()}
    if modules == {node.module} or (len(moved) == len(node.names) and len(modules) == 1):
        return _in_place(node, moved, modules.pop(), positions)
    return (*_cut(node, moved, positions), _added(node, moved, positions))


def _in_place(
    node: ast.ImportFrom, moved: Mapping[ast.alias, str], module: str, positions: Positions
) -> tuple[Edit, ...]:
    start = positions.start(node)
    old = re.compile(r"from\s+(\S+)").match(positions.text, start)
    if old is None:
        return ()
    edits = [Edit(old.start(1), old.end(1), module)] if old[1] != module else []
    for alias, new in moved.items():
        if new.rpartition(".")[2] != alias.name:
            edits.append(Edit(positions.start(alias), positions.end(alias), _spelled(alias, new)))
    return tuple(edits)


def _cut(node: ast.ImportFrom, moved: Mapping[ast.alias, str], positions: Positions) -> list[Edit]:
    """Each moved name goes with the comma after it; at the end of the list, with the one before it."""
    names, edits = node.names, []
    kept = [index for index, alias in enumerate(names) if alias not in moved]
    last = kept[-1] if kept else -1
    for index, alias in enumerate(names[:last]):
        if alias in moved:
            edits.append(Edit(positions.start(alias), positions.start(names[index + 1]), ""))
    if kept and last + 1 < len(names):
        edits.append(Edit(positions.end(names[last]), positions.end(names[-1]), ""))
    if not kept:
        edits.append(Edit(positions.start(node), positions.end(node), ""))
    return edits


def _added(node: ast.ImportFrom, moved: Mapping[ast.alias, str], positions: Positions) -> Edit:
    indent, lines = " " * node.col_offset, []
    for module in sorted({new.rpartition(".")[0] for new in moved.values()}):
        names = [_spelled(alias, new) for alias, new in moved.items() if new.rpartition(".")[0] == module]
        lines.append(f"from {module} import {', '.join(names)}")
    if len(moved) == len(node.names):  # the old statement is gone: the new ones take its place
        return Edit(positions.end(node), positions.end(node), f"\n{indent}".join(lines))
    end = positions.line_end(node)
    return Edit(end, end, "".join(f"\n{indent}{line}" for line in lines))


def _spelled(alias: ast.alias, new: str) -> str:
    name, kept = new.rpartition(".")[2], alias.asname or alias.name
    return name if name == kept else f"{name} as {kept}"


def attribute_edits(
    node: ast.Attribute, full: str, new: str, imports: Mapping[str, ast.Import], positions: Positions
) -> tuple[Edit, ...]:
    """Rename `module.Name` in place and import the new module; `new` "()" means: call the object itself."""
    start, end = positions.end(node.value), positions.end(node)
    if new == "()":
        return (Edit(start, end, ""),)
    if not new:
        return ()
    module, _, name = new.rpartition(".")
    if module == full.rpartition(".")[0]:
        return (Edit(end - len(node.attr), end, name),)
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    statement = imports.get(root.id) if isinstance(root, ast.Name) else None
    if statement is None or not positions.alone(statement):
        return ()
    after = positions.line_end(statement)
    added = Edit(after, after, f"\n{' ' * statement.col_offset}import {module}")
    return (added, Edit(positions.start(node), end, new))
