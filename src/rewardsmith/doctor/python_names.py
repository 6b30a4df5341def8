"""Old names in Python source: imports, attributes, keyword arguments, and keys of what collators take and give.

    hits = scan_python(text, judged)          # raises SyntaxError

Only names that `names_in_sight` can follow are looked up, so that a string, a comment, a local class of the same name
or another library's argument never gives a hit. An import that a `try` guards with `except ImportError` is the author's
own answer to the change, and is left alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from rewardsmith.doctor.hits import Edit, Hit, Judged
from rewardsmith.doctor.import_edits import Imported, attribute_edits, import_edits
from rewardsmith.doctor.names_in_sight import NamesInSight
from rewardsmith.doctor.positions import Positions
from rewardsmith.doctor.rules import Rule, Severity


def scan_python(text: str, judged: Sequence[Judged]) -> list[Hit]:
    """Every old name in a module's source, in the order of the text.

    Raises:
        SyntaxError: the text is not Python.
    """
    scanner = _Scanner(text, judged)
    scanner.visit(ast.parse(text))
    return sorted(scanner.hits, key=lambda hit: hit.start)


class _Scanner(NamesInSight):
    """Looks every name in sight up in the rules."""

    def __init__(self, text: str, judged: Sequence[Judged]) -> None:
        super().__init__()
        self.hits: list[Hit] = []
        self._positions = Positions(text)
        self._judged = judged

    # ------------------------------------------------------------------------------------------------------- imports

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b`."""
        super().visit_Import(node)
        for alias in node.names:
            for rule, severity in self._of_module(alias.name):
                self._hit(rule, severity, alias.name, "", self._positions.start(alias))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b as c`."""
        super().visit_ImportFrom(node)
        if node.level or not node.module:
            return
        found: list[Imported] = []
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            moved = [(rule, severity, rule.names[full]) for rule, severity in self._judged if full in rule.names]
            if moved:
                found += [Imported(alias, full, *one) for one in moved]
            else:
                found += [Imported(alias, full, *one, "") for one in self._of_module(full)]
        edits = import_edits(node, found, self._positions)
        for one in found:
            mends = edits if one.new else ()
            self._hit(one.rule, one.severity, one.full, one.new, self._positions.start(one.alias), mends)

    def _of_module(self, full: str) -> list[Judged]:
        return [
            (rule, severity)
            for rule, severity in self._judged
            if any(full == module or full.startswith(f"{module}.") for module in rule.modules)
        ]

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`trl.PPOTrainer`, `tokenizer.encode_plus`; the parts of a chain that hit are not looked at again."""
        full = self.qualified(node)
        for rule, severity in self._judged if full else ():
            for old, new in rule.names.items():
                if full == old or ("*" in old and fnmatchcase(full or "", old)):
                    edits = attribute_edits(node, full or "", new, self.imports, self._positions)
                    self._hit(rule, severity, full or "", new, self._positions.start(node), edits)
                    return
            if full in rule.modules:
                self._hit(rule, severity, full or "", "", self._positions.start(node))
                return
        self._field(node)
        self.visit(node.value)

    def _field(self, node: ast.Attribute) -> None:
        """`config.field` of an instance of a configuration: what its constructor lost, it lost."""
        owner = (self.qualified(node.value) or "").removesuffix("()")
        if not owner.endswith(("Config", "Arguments")) or owner == self.qualified(node.value):
            return
        for rule, severity in self._judged:
            if node.attr in rule.arguments and any(fnmatchcase(owner, pattern) for pattern in rule.calls):
                new, end = rule.arguments[node.attr], self._positions.end(node)
                edits = (Edit(end - len(node.attr), end, new),) if new else ()
                short = owner.rpartition(".")[2]
                self._hit(rule, severity, f"{short}.{node.attr}", new, self._positions.start(node), edits)

    # ------------------------------------------------------------------------------------------ arguments and keys

    def visit_Call(self, node: ast.Call) -> None:
        """Keyword arguments of a known callable, `batch.get(key)`, and rows written out for a collator."""
        called = self.constructor(node.func)
        for rule, severity in self._judged if called else ():
            if any(fnmatchcase(called or "", pattern) for pattern in rule.calls):
                self._arguments(rule, severity, node, called or "")
        if called and called.endswith("()"):
            self._written_rows(called.removesuffix("()"), node.args)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop") and node.args:
            self._key(node.func.value, node.args[0])
        self.generic_visit(node)

    def _arguments(self, rule: Rule, severity: Severity, call: ast.Call, called: str) -> None:
        given = {keyword.arg for keyword in call.keywords if keyword.arg}
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg not in rule.arguments or given & set(rule.unless):
                continue
            if rule.value and not re.search(rule.value, _written(keyword.value)):
                continue
            new, start = rule.arguments[keyword.arg], self._positions.start(keyword)
            edits = (Edit(start, start + len(keyword.arg), new),) if new and new not in given else ()
            short = called.rpartition(".")[2]
            self._hit(rule, severity, f"{short}({keyword.arg}=)", new and f"{new}=", start, edits)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """`batch["key"]`."""
        self._key(node.value, node.slice)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """`"key" in batch`."""
        if isinstance(node.ops[0], ast.In | ast.NotIn):
            self._key(node.comparators[0], node.left)
        self.generic_visit(node)

    def _written_rows(self, collator: str, arguments: Sequence[ast.expr]) -> None:
        written = [part for one in arguments for part in ast.walk(one) if isinstance(part, ast.Dict)]
        for key in (key for row in written for key in row.keys if key):
            self._constant_key(f"row of {collator}", key)

    def _key(self, container: ast.expr, key: ast.expr) -> None:
        full = self.qualified(container)
        if full and full.endswith("()()"):
            full = f"batch of {full.removesuffix('()()')}"
        if full and full.startswith(("batch of ", "row of ")):
            self._constant_key(full, key)

    def _constant_key(self, full: str, key: ast.expr) -> None:
        kind, _, owner = full.partition(" of ")
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            return
        for rule, severity in self._judged:
            patterns = rule.rows if kind == "row" else (*rule.batches, *rule.trainers)
            if key.value in rule.keys and any(fnmatchcase(owner, pattern) for pattern in patterns):
                new, start = rule.keys[key.value], self._positions.start(key)
                at = self._positions.text.index(key.value, start)
                edits = (Edit(at, at + len(key.value), new),) if new else ()
                self._hit(rule, severity, f'"{key.value}"', new, start, edits)

    def _hit(
        self, rule: Rule, severity: Severity, found: str, new: str, start: int, edits: Sequence[Edit] = ()
    ) -> None:
        if not self.guarded:
            self.hits.append(Hit(rule, severity, found, new, start, tuple(edits)))


def _written(value: ast.expr) -> str:
    """A value as a shell would have it: a text without its quotes, all else as its source."""
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ast.unparse(value)
