"""Typing in a terminal, with three words that change at every key."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

END = {"\x03", "\x04", "\x1b"}  # Ctrl-C, Ctrl-D, Escape
ENTER, BACK, TAB = {"\r", "\n"}, {"\x7f", "\x08"}, "\t"


def type_along(suggest: Callable[[str], list[str]]) -> None:
    """Show what is suggested while a message is typed; Tab takes the first word, Escape ends.

    Where no terminal is typed in, each line of the input is a message, and is answered by a line.
    """
    if not sys.stdin.isatty():
        for line in sys.stdin:
            typer.echo(" | ".join(suggest(line.rstrip("\n"))))
        return
    typer.echo("type; Tab takes the first word, Enter begins anew, Escape ends", err=True)
    typed = ""
    while True:
        words = suggest(typed)
        typer.echo(f"\r\x1b[K{typed}\x1b[2m   {' | '.join(words)}\x1b[0m", nl=False)
        key = typer.getchar()
        if key in END:
            typer.echo()
            return
        typed = after(typed, key, words)


def after(typed: str, key: str, words: list[str]) -> str:
    """The message after one more key."""
    if key in ENTER:
        return ""
    if key in BACK:
        return typed[:-1]
    if key == TAB:
        before, _, _ = typed.rpartition(" ")
        return f"{before} {words[0]} ".lstrip() if words else typed
    return typed + key if key.isprintable() else typed


__all__ = ["after", "type_along"]
