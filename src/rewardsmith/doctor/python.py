"""Old names in Python source: imports, attributes, keyword arguments, and keys of what collators take and give.

    hits = scan_python(text, applied)          # raises SyntaxError

Only names that `NamesInSight` can follow are looked up, so that a string, a comment, a local class of the same name
or another library's argument never gives a hit. An import that a `try` guards with `except ImportError` is the author's
own answer to the change, and is left alone.

An import or an attribute whose name moved is rewritten by spans of the source, everything else as it stands. A name
that has another name now keeps its old one in the file (`import New as Old`), so that its uses need no change.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from rewardsmith.doctor.rules import Applied, Edit, Hit, Rule, Severity

_Scope = dict[str, str | None]
_GUARDS = {"ImportError", "ModuleNotFoundError", "Exception"}
_BATCH_METHODS = {"compute_loss", "prediction_step", "training_step"}
_ROWS_METHODS = {"torch_call", "__call__"}
_PARSERS = (".TrlParser", ".HfArgumentParser")
_PARSE = {"parse_args_and_config", "parse_args_into_dataclasses"}


def scan_python(text: str, applied: Sequence[Applied]) -> list[Hit]:
    """Every old name in a module's source, in the order of the text.

    Raises:
        SyntaxError: the text is not Python.
    """
    scanner = _Scanner(text, applied)
    scanner.visit(ast.parse(text))
    return sorted(scanner.hits, key=lambda hit: hit.start)


class NamesInSight(ast.NodeVisitor):
    """What the names of a module are: followed from their imports through aliases, assignments and instances.

        self.qualified(node.func)         # "trl.RewardTrainer", or None where nobody can tell

    A name is its full dotted name; `Class()` is an instance of it, `Class()()` what calling that gives; `batch of T` is
    what a trainer T is given, `rows of T` and `row of T` what a collator T is. Scope by scope, as Python has them; what
    cannot be followed is None. `imports` has the statement of each imported name, `guarded` is above 0 where a `try`
    catches.
    """

    def __init__(self) -> None:
        self.imports: dict[str, ast.Import] = {}
        self.guarded = 0
        self._scopes: list[_Scope] = [{}]
        self._bases: list[str | None] = []
        self._parsers: dict[str, list[str | None]] = {}

    def qualified(self, node: ast.expr | None) -> str | None:
        """The full name of what an expression is, as far as imports and assignments tell."""
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self._scopes) if node.id in scope), None)
        if isinstance(node, ast.Attribute):
            owner = self.qualified(node.value)
            return owner and f"{owner}.{node.attr}"
        if isinstance(node, ast.Call):
            return self._made(node)
        return None

    def _made(self, call: ast.Call) -> str | None:
        called = self.qualified(call.func)
        if called is None:
            return None
        owner, _, last = called.rpartition(".")
        # A class method that makes an instance of its owner.
        if last == "from_pretrained":
            return f"{owner}()"
        # By convention a capital begins the name of a class, and calling it makes an instance.
        return f"{called}()" if last[:1].isupper() else None

    def _bind(self, target: ast.expr, value: str | None) -> None:
        if isinstance(target, ast.Name):
            self._scopes[-1][target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self._bind(part, None)

    def constructor(self, called: ast.expr) -> str | None:
        """The full name of what is called; `super().__init__` is the base class."""
        if isinstance(called, ast.Attribute) and called.attr == "__init__" and self._bases:
            owner = called.value
            if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "super":
                return self._bases[-1]
        return self.qualified(called)

    def visit_Import(self, node: ast.Import) -> None:
        """`import a.b` binds a, `import a.b as c` binds a.b."""
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._scopes[-1][name] = alias.name if alias.asname else name
            self.imports[name] = node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from a import b as c`; what a package imports from itself is unknown."""
        module = None if node.level else node.module
        for alias in node.names:
            self._scopes[-1][alias.asname or alias.name] = module and f"{module}.{alias.name}"

    def visit_Try(self, node: ast.Try) -> None:
        """Imports that the author has guarded give no hits; what follows them does."""
        caught = {name.id for handler in node.handlers for name in _names(handler.type)}
        guarded = int(bool(caught & _GUARDS) or any(handler.type is None for handler in node.handlers))
        self.guarded += guarded
        for statement in (*node.body, *(line for handler in node.handlers for line in handler.body)):
            self.visit(statement)
        self.guarded -= guarded
        for statement in (*node.orelse, *node.finalbody):
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """A subclass without a constructor of its own takes its base's arguments."""
        for part in (*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)):
            self.visit(part)
        base = next((full for full in map(self.qualified, node.bases) if full), None)
        own = any(isinstance(line, ast.FunctionDef) and line.name == "__init__" for line in node.body)
        self._bases.append(base)
        self._scopes.append({})
        for line in node.body:
            self.visit(line)
        self._scopes.pop()
        self._bases.pop()
        self._scopes[-1][node.name] = None if own else base

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Parameters hide outer names; what is known of them comes from annotations and from the base class."""
        arguments = node.args
        for part in (*node.decorator_list, *arguments.defaults, *(d for d in arguments.kw_defaults if d)):
            self.visit(part)
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        scope: _Scope = {one.arg: self._annotated(one) for one in every}
        scope |= {one.arg: None for one in (arguments.vararg, arguments.kwarg) if one}
        base = self._bases[-1] if self._bases else None
        if base and node.name in _BATCH_METHODS and "inputs" in scope:
            scope["inputs"] = f"batch of {base}"
        if base and node.name in _ROWS_METHODS and len(arguments.args) > 1:
            scope[arguments.args[1].arg] = f"rows of {base}"
        self._scopes[-1][node.name] = None
        self._scopes.append(scope)
        for line in node.body:
            self.visit(line)
        self._scopes.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the visitor's own spelling

    def _annotated(self, argument: ast.arg) -> str | None:
        full = self.qualified(argument.annotation)
        return full and f"{full}()"

    def visit_Assign(self, node: ast.Assign) -> None:
        """`x = …` and `x = y = …`."""
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)
            self._bind(target, self.qualified(node.value))
            self._parsed(target, node.value)

    def _parsed(self, target: ast.expr, value: ast.expr) -> None:
        """`parser = TrlParser((A, B))` and `a, b = parser.parse_args_and_config()`: instances of A and B."""
        if not isinstance(value, ast.Call):
            return
        if isinstance(target, ast.Name) and (self.qualified(value.func) or "").endswith(_PARSERS) and value.args:
            classes = value.args[0].elts if isinstance(value.args[0], ast.Tuple | ast.List) else value.args[:1]
            self._parsers[target.id] = [self.qualified(one) for one in classes]
        called = value.func
        if isinstance(called, ast.Attribute) and called.attr in _PARSE and isinstance(called.value, ast.Name):
            known = self._parsers.get(called.value.id, ())
            for part, full in zip(target.elts if isinstance(target, ast.Tuple) else (), known, strict=False):
                self._bind(part, full and f"{full}()")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """`x: T = …`."""
        if node.value:
            self.visit(node.value)
        self._bind(node.target, self.qualified(node.value))

    def visit_With(self, node: ast.With) -> None:
        """`with … as x` makes x unknown."""
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars:
                self._bind(item.optional_vars, None)
        for line in node.body:
            self.visit(line)

    def visit_For(self, node: ast.For) -> None:
        """A row of rows."""
        self.visit(node.iter)
        self._bind(node.target, self._row(node.iter))
        for line in (*node.body, *node.orelse):
            self.visit(line)

    def visit_ListComp(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        """Comprehensions have a scope of their own, and their loops come before their element."""
        self._scopes.append({})
        for loop in node.generators:
            self.visit(loop.iter)
            self._bind(loop.target, self._row(loop.iter))
            for test in loop.ifs:
                self.visit(test)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(part)
        self._scopes.pop()

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815

    def _row(self, iterated: ast.expr) -> str | None:
        full = self.qualified(iterated) or ""
        return f"row{full.removeprefix('rows')}" if full.startswith("rows of ") else None


def _names(node: ast.AST | None) -> Iterator[ast.Name]:
    return (part for part in ast.walk(node) if isinstance(part, ast.Name)) if node else iter(())


class _Scanner(NamesInSight):
    """Looks every name in sight up in the rules."""

    def __init__(self, text: str, applied: Sequence[Applied]) -> None:
        super().__init__()
        self.hits: list[Hit] = []
        self._positions = Positions(text)
        self._applied = applied

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
            moved = [(rule, severity, rule.names[full]) for rule, severity in self._applied if full in rule.names]
            if moved:
                found += [Imported(alias, full, *one) for one in moved]
            else:
                found += [Imported(alias, full, *one, "") for one in self._of_module(full)]
        edits = import_edits(node, found, self._positions)
        for one in found:
            fixes = edits if one.new else ()
            self._hit(one.rule, one.severity, one.full, one.new, self._positions.start(one.alias), fixes)

    def _of_module(self, full: str) -> list[Applied]:
        return [
            (rule, severity)
            for rule, severity in self._applied
            if any(full == module or full.startswith(f"{module}.") for module in rule.modules)
        ]

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """`trl.PPOTrainer`, `tokenizer.encode_plus`; the parts of a chain that hit are not looked at again."""
        full = self.qualified(node)
        for rule, severity in self._applied if full else ():
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
        for rule, severity in self._applied:
            if node.attr in rule.arguments and any(fnmatchcase(owner, pattern) for pattern in rule.calls):
                new, end = rule.arguments[node.attr], self._positions.end(node)
                edits = (Edit(end - len(node.attr), end, new),) if new else ()
                short = owner.rpartition(".")[2]
                self._hit(rule, severity, f"{short}.{node.attr}", new, self._positions.start(node), edits)

    # ------------------------------------------------------------------------------------------ arguments and keys

    def visit_Call(self, node: ast.Call) -> None:
        """Keyword arguments of a known callable, `batch.get(key)`, and rows written out for a collator."""
        called = self.constructor(node.func)
        for rule, severity in self._applied if called else ():
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
        for rule, severity in self._applied:
            patterns = rule.rows if kind == "row" else (*rule.batches, *rule.trainers)
            if key.value in rule.keys and any(fnmatchcase(owner, pattern) for pattern in patterns):
                new, start = rule.keys[key.value], self._positions.start(key)
                # Behind the quote, and whatever prefix stands before it.
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


_Node = ast.expr | ast.stmt | ast.alias | ast.keyword | ast.arg


class Positions:
    """Offsets of nodes in one text, in characters: `ast` gives lines and columns of UTF-8."""

    def __init__(self, text: str) -> None:
        self.text = text
        # ast counts lines at \n, \r\n and \r, and no other of the breaks that str.splitlines knows.
        self._lines = text.replace("\r\n", " \n").replace("\r", "\n").split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def start(self, node: _Node) -> int:
        """Where a node begins."""
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: _Node) -> int:
        """Where a node ends."""
        return self._offset(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)

    def line_end(self, node: _Node) -> int:
        """The end of the last line of a node, before its line break."""
        return self._starts[node.end_lineno or node.lineno] - 1

    def alone(self, node: _Node) -> bool:
        """Whether no other statement shares the lines of a node."""
        before = self._lines[node.lineno - 1][: self.start(node) - self._starts[node.lineno - 1]]
        after = self.text[self.end(node) : self.line_end(node)].strip()
        return not before.strip() and (not after or after.startswith("#"))

    def _offset(self, line: int, column: int) -> int:
        text = self._lines[line - 1]
        # ast counts columns in bytes of UTF-8, edits count characters.
        return self._starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))


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
