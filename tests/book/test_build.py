"""The book builds without a single warning, and every page of its contents is there."""

import os
import subprocess
import sys

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


BROKEN = {
    "ref": "{ref}`nowhere`",
    "link": "[gone](gone.md)",
    "glue": "{glue:text}`a.ipynb::x`",
    "citation": "{cite}`nobody1999`",
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """What is said about a book of one sound page and four that are not."""
    root = tmp_path_factory.mktemp("broken")
    (root / "_config.yml").write_text(
        "only_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n", encoding="utf-8"
    )
    chapters = "".join(f"- file: {name}\n" for name in BROKEN)
    (root / "_toc.yml").write_text(
        f"format: jb-book\nroot: index\nchapters:\n{chapters}", encoding="utf-8"
    )
    for name, text in {"index": "Sound.", **BROKEN}.items():
        (root / f"{name}.md").write_text(f"# A page\n\n{text}\n", encoding="utf-8")
    built = build(root, root / "out")
    assert built.returncode != 0
    return built.stdout + built.stderr


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_page_does_not_build(broken, name):
    assert f"{name}.md:3: WARNING" in broken
    assert "index.md" not in broken


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
