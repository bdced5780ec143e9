"""Run the code blocks of the page on the problem, by their names."""

from functools import cache

from tools.environment import BOOK
from tools.markdown import parse

PAGE = BOOK / "foundations" / "problem.md"


@cache
def blocks() -> dict[str, str]:
    """Every named code block of the page: name to code."""
    page = parse(PAGE.read_text(encoding="utf-8"))
    found = [d for d in page.directives if d.name == "code-block"]
    return {d.options["name"]: d.body for d in found}


def run_block(name: str, between: str = "") -> dict:
    """Run a block after its framework's set-up (and some code between); its variables."""
    state: dict = {}
    exec(blocks()[f"{name.partition('-')[0]}-setup"], state)
    exec(between, state)
    exec(blocks()[name], state)
    return state
