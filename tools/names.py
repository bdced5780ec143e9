"""Which names the code of a page makes and reads, statement by statement."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass

_MAGIC = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)
_AT_ONCE = {"listcomp", "setcomp", "dictcomp", "genexpr"}  # scopes that run where they stand


@dataclass(frozen=True)
class Names:
    """Global names of one statement."""

    made: frozenset[str]
    read: frozenset[str]  # where the statement runs
    read_later: frozenset[str]  # where a function that it defines is called


def statements(source: str) -> Iterator[Names]:
    """Yield the names of each statement of a cell, in order."""
    for statement in ast.parse(_MAGIC.sub("", source)).body:
        made: set[str] = set()
        read: set[str] = set()
        later: set[str] = set()
        _collect(symtable.symtable(ast.unparse(statement), "cell", "exec"), made, read, later)
        changed = isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name)
        if changed:
            read |= made
        if not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign):
            read -= made  # a loop reads its own variable
        yield Names(frozenset(made), frozenset(read), frozenset(later))


def _collect(scope: symtable.SymbolTable, made: set[str], read: set[str], later: set[str]) -> None:
    """Add the global names of a scope, and of the scopes in it."""
    top = scope.get_type() == "module"
    deferred = scope.get_type() == "function" and scope.get_name() not in _AT_ONCE
    for symbol in scope.get_symbols():
        if not top and not symbol.is_global():
            continue
        if symbol.is_assigned() or symbol.is_imported():
            made.add(symbol.get_name())
        if symbol.is_referenced():
            (later if deferred else read).add(symbol.get_name())
    for child in scope.get_children():
        _collect(child, made, later if deferred else read, later)
