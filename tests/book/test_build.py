"""The book builds without a single warning, and every page of its contents is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import links
from tools.docstrings import number_sources
from tools.environment import ROOT

BUILD = "from jupyter_book.cli.main import main; main()"


def build(root, output):
    """Build a book, a warning being an error."""
    flags = ["-W", "-n", "--keep-going", "-q"]
    return subprocess.run(
        [sys.executable, "-c", BUILD, "build", root, "--path-output", output, *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    output = tmp_path_factory.mktemp("built")
    built = build(ROOT, output)
    assert built.returncode == 0, built.stdout + built.stderr
    return output / "_build" / "html"


def test_every_page_of_the_contents_is_built(html):
    entries = links.toc_entries(ROOT / "_toc.yml")
    assert [entry for entry in entries if not (html / f"{entry}.html").exists()] == []


def test_the_first_page_leads_to_the_book(html):
    assert "book/index.html" in (html / "index.html").read_text(encoding="utf-8")


def test_notebooks_can_be_opened_elsewhere(html):
    """A theme option set in the wrong place silently drops the launch buttons."""
    notebooks = [e for e in links.toc_entries(ROOT / "_toc.yml") if (ROOT / f"{e}.ipynb").exists()]
    for entry in notebooks:
        page = (html / f"{entry}.html").read_text(encoding="utf-8")
        assert "colab.research.google.com" in page, entry


def test_the_package_is_documented(html):
    page = (html / "book/reference/api_corpora.html").read_text(encoding="utf-8")
    assert 'id="companion.corpora.split"' in page


@pytest.mark.parametrize(
    "text", ["{ref}`nowhere`", "[gone](gone.md)", "{glue:text}`a.ipynb::x`", "{cite}`nobody1999`"]
)
def test_a_broken_page_does_not_build(tmp_path, text):
    (tmp_path / "_config.yml").write_text(
        "only_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n", encoding="utf-8"
    )
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n", encoding="utf-8")
    page: Path = tmp_path / "index.md"
    page.write_text(f"# A page\n\n{text}\n", encoding="utf-8")
    assert build(tmp_path, tmp_path / "out").returncode != 0


def test_sources_of_docstrings_do_not_clash():
    lines = [
        "As in [1]_.",
        "",
        "References",
        "----------",
        ".. [1] Kneser and Ney,",
        "       1995.",
    ]
    number_sources(lines)
    assert lines[0] == "As in [1]."
    assert lines[4] == "1. Kneser and Ney,"
