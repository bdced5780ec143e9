"""``python -m companion``: the same as the command ``companion``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; say what to install where it cannot be."""
    try:
        from companion.cli import app
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit("the command needs Typer: pip install 'one-network-many-users[cli]'")
    app(prog_name="companion")


if __name__ == "__main__":
    main()
