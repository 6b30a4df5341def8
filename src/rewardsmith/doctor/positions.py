"""From the line and UTF-8 column that `ast` gives to an offset in characters of the text."""

from __future__ import annotations

import ast

_Node = ast.expr | ast.stmt | ast.alias | ast.keyword | ast.arg


class Positions:
    """Offsets of nodes in one text."""

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
        return self._starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))
