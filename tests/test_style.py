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


def types(*arguments):
    """What mypy says of the package, or of the code it is given."""
    run = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", *arguments]
    return subprocess.run(run, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_types_of_the_package_agree():
    found = types()
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def double(x):\n    return 2 * x\n", "no-untyped-def"),
        ("def double(x: int) -> str:\n    return 2 * x\n", "return-value"),
        ("def none(x: int = None) -> int:\n    return x\n", "assignment"),
    ],
)
def test_a_wrong_type_is_found(tmp_path, code, error):
    (tmp_path / "page.py").write_text(code)
    found = types("--cache-dir", str(tmp_path), str(tmp_path / "page.py"))
    assert found.returncode == 1
    assert f"[{error}]" in found.stdout
