"""What the names of a Python module are: followed from their imports through aliases, assignments and instances.

    class Scanner(NamesInSight):
        def visit_Call(self, node):
            self.qualified(node.func)         # "trl.RewardTrainer", or None where nobody can tell

A name is its full dotted name; `Class()` is an instance of it, `Class()()` what calling that gives; `batch of T` is
what a trainer T is given, `rows of T` and `row of T` what a collator T is. Scope by scope, as Python has them; what
cannot be followed is None.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_Scope = dict[str, str | None]
_GUARDS = {"ImportError", "ModuleNotFoundError", "Exception"}
_BATCH_METHODS = {"compute_loss", "prediction_step", "training_step"}
_ROWS_METHODS = {"torch_call", "__call__"}
_PARSERS = (".TrlParser", ".HfArgumentParser")
_PARSE = {"parse_args_and_config", "parse_args_into_dataclasses"}


class NamesInSight(ast.NodeVisitor):
    """Walks a module. `imports` has the statement of each imported name, `guarded` is above 0 where a `try` catches."""

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
        if last == "from_pretrained":
            return f"{owner}()"
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
