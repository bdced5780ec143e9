"""What `make lint` checks, so that nobody has to remember it."""

import subprocess
import sys

import pytest

from tools.environment import ROOT


def ruff(*arguments):
    """What ruff says of everything, or of the code it is given."""
    run = [sys.executable, "-m", "ruff", *arguments]
    return subprocess.run(run, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.parametrize("command", [("check", "--no-cache"), ("format", "--check", "--no-cache")])
def test_code_and_notebooks_keep_the_style(command):
    found = ruff(*command, ".")
    assert found.returncode == 0, found.stdout


def test_a_broken_style_is_found(tmp_path):
    (tmp_path / "page.py").write_text("import os\nx = {  }\n")
    for command in (("check",), ("format", "--check")):
        assert ruff(*command, "--no-cache", "--isolated", str(tmp_path)).returncode == 1
