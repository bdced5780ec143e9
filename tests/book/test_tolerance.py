"""Numbers are compared as numbers: small differences of decimals pass, everything else counts."""

import operator
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import tolerance
from tools.environment import ROOT
from tools.tolerance import Tolerant, same

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("reference", "computed"),
    [
        ("loss 2.313", "loss 2.314"),
        ("gain 34.5 %", "gain 35.1 %"),
        ("-0.0", "0.0"),
        ("[0.25, -1.5e-03]", "[0.26, -1.4e-03]"),
        ("1,234.5 tokens", "1,240.5 tokens"),
        ("  9.99\n10.01", "10.00\n 9.99"),
        ("<td>2.31</td>", "<td>2.32</td>"),
        ("loss\n-----\n 9.99", "loss\n------\n 10.00"),
        ("nan", "nan"),
        ("share 0.61", "share 0.62"),
        ("gain 0.0931", "gain 0.0930"),
        ("0.00", "-0.01"),
        ("2e-07", "3e-07"),
        ("hurt (%) 3.8", "hurt (%) 3.5"),  # one user of 400
        ("-0.2040644299924317", "-0.2080644299924317"),
    ],
)
def test_small_differences_pass(reference, computed):
    assert same(reference, computed)


@pytest.mark.parametrize(
    ("reference", "computed"),
    [
        ("loss 2.313", "loss 2.413"),
        ("120 users", "121 users"),
        ("There are 120.", "There are 121."),
        ("(32, 10, 64)", "(32, 10, 65)"),
        ("12 %", "13 %"),
        ("loss 2.31", "Loss 2.31"),
        ("loss 2.31", "loss 2.31 nats"),
        ("torch 2.13.0", "torch 2.14.0"),
        ("a3e12", "a3e13"),
        ("nan", "0.5"),
        ("0.5", "nan"),
        ("1.0 2.0", "1.0"),
        ("2.0", "-2.0"),
        ("one\ntwo", "one two"),
        ("gain 0.031", "gain 0.041"),
        ("gain 0.010", "gain -0.010"),
        ("-0.2040644299924317", "-0.2140644299924317"),
        ("hurt (%) 3.8", "hurt (%) 4.3"),  # two users of 400
        ("share 0.5", "share 0.9"),
        ("1e-06", "1e-03"),
    ],
)
def test_real_changes_fail(reference, computed):
    assert not same(reference, computed)


@given(st.floats(-1e6, 1e6), st.text(max_size=20))
def test_equal_to_itself_and_not_to_what_is_far(number, text):
    line = f"{text} {number:.3f}"
    assert same(line, line)
    assert not same(line, f"{text} {number * 1.05 + 1:.3f}")


def test_a_tolerant_text_compares_both_ways():
    assert Tolerant("0.50") == "0.51"
    assert operator.ne(Tolerant("0.50"), "0.51") is False
    assert Tolerant("0.50") != "0.60"
    assert Tolerant("0.50") != 0.5


@pytest.mark.parametrize("page", ["book/reference/reproducibility.md", "CONTRIBUTING.md"])
def test_the_tolerance_is_stated_as_it_is(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"{tolerance.ABSOLUTE}" in text
    assert f"{100 * tolerance.RELATIVE:.0f} %" in text


def _cell(source, *outputs):
    return nbformat.v4.new_code_cell(source, execution_count=1, outputs=list(outputs))


def _printed(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def _glued(text):
    record = "application/papermill.record/"
    return nbformat.v4.new_output(
        "display_data",
        data={f"{record}text/plain": text},
        metadata={"scrapbook": {"name": "loss", "mime_prefix": record}},
    )


GLUE = "from companion.glue import glue\nglue('loss', 2.313)"
CELLS = [
    (_cell("print('loss 2.313')", _printed("loss 2.314\n")), True),
    (_cell("print('loss 2.313')", _printed("loss 2.513\n")), False),
    (_cell("print(120, 'users')", _printed("121 users\n")), False),
    (_cell("print('loss 2.313')", _printed("Loss 2.313\n")), False),
    (_cell(GLUE, _glued("2.314")), True),
    (_cell(GLUE, _glued("2.514")), False),
    (_cell("import sys\nprint('oh', file=sys.stderr)"), False),
]


def _write(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


def test_nbval_follows_the_tolerance(pytester, monkeypatch):
    """Run nbval itself, with this project's conftest, over a notebook written for the purpose."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "conftest.py").read_text(encoding="utf-8"))
    _write(Path(pytester.path) / "a.ipynb", *[cell for cell, _ in CELLS])
    result = pytester.runpytest_subprocess(
        "--nbval", "--nbval-current-env", "-p", "no:xdist", "-p", "no:cacheprovider", "-v"
    )
    outcomes = [
        " PASSED " in line for line in result.outlines if "::Cell " in line and "%]" in line
    ]
    assert outcomes == [passes for _, passes in CELLS]


def test_the_longest_notebook_starts_first(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(test_a="def test_a(): pass")
    for name, span in [("a", "2 s"), ("b", "about 90 s, 5 s later"), ("c", "1 minute")]:
        head = nbformat.v4.new_markdown_cell(f"**Time to run:** {span}.")
        _write(Path(pytester.path) / f"{name}.ipynb", head, _cell("1 + 1"))
    result = pytester.runpytest_subprocess("--nbval", "--collect-only", "-q", "-p", "no:xdist")
    order = [line.partition(".")[0] for line in result.outlines if "::" in line]
    assert order == ["b", "c", "a", "test_a"]
