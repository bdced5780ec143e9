"""The book itself, page by page: what every page must hold."""

import warnings

import nbformat
import pytest

from tools import checks, links
from tools.environment import BOOK, ROOT
from tools.markdown import markdown_of

PAGES = links.pages(BOOK)
NOTEBOOKS = [page for page in PAGES if page.suffix == ".ipynb"]
TWINS = [page for page in NOTEBOOKS if page.name == "pytorch.ipynb"]
WORDS_WANTED = (1_500, 3_000)  # outside of these a warning,
WORDS_ALLOWED = (1_000, 4_000)  # outside of those a failure


def name(path):
    return path.relative_to(BOOK).as_posix()


def read(path):
    return nbformat.read(path, as_version=4)


def test_the_table_of_contents_and_the_pages_agree():
    assert links.check_toc(ROOT) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
@pytest.mark.parametrize(
    "check",
    [
        checks.check_executed,
        checks.check_outputs,
        checks.check_sources,
        checks.check_exempt,
        checks.check_figures,
        checks.check_header,
        checks.check_cell_lengths,
        checks.check_cell_widths,
        checks.check_names,
    ],
    ids=lambda check: check.__name__,
)
def test_notebook(check, path):
    assert check(read(path), name(path)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_size_of_notebook(path):
    assert checks.check_notebook_size(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_length_of_text(path):
    sources = [source for _, source in markdown_of(path)]
    for problem in checks.check_words(sources, name(path), *WORDS_WANTED):
        warnings.warn(problem, stacklevel=1)
    assert checks.check_words(sources, name(path), *WORDS_ALLOWED) == []


@pytest.mark.parametrize("path", PAGES, ids=name)
@pytest.mark.parametrize(
    "check",
    [checks.check_images, checks.check_typed_numbers],
    ids=lambda check: check.__name__,
)
def test_text(check, path):
    assert [
        problem for where, source in markdown_of(path) for problem in check(source, where)
    ] == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_glued_numbers_resolve(path):
    assert links.check_glue(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_glued_numbers_are_used(path):
    everything = [source for page in PAGES for _, source in markdown_of(page)]
    assert links.check_unused_glue(path, everything) == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_files_linked_to_exist(path):
    assert links.check_files(path, ROOT) == []


@pytest.mark.parametrize("path", TWINS, ids=name)
def test_twins_have_the_same_sections(path):
    twin = path.with_name("keras.ipynb")
    assert twin.exists()
    assert checks.check_twins(read(path), read(twin), path.parent.name) == []


def test_links_of_files_beside_the_book():
    for file in ("README.md", "CONTRIBUTING.md"):
        assert links.check_files(ROOT / file, ROOT) == []


# Modules whose names no reader imports: they serve the ones that the reference documents.
INTERNAL = {"checks", "progress"}


def test_every_public_module_is_in_the_reference():
    package = ROOT / "companion"
    files = [*package.glob("*.py"), *package.glob("pytorch/*.py"), *package.glob("keras/*.py")]
    modules = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if not file.name.startswith("_") and file.stem not in INTERNAL
    }
    documented = "\n".join(
        page.read_text(encoding="utf-8") for page in (BOOK / "reference").glob("api*.md")
    )
    missing = {m for m in modules if f"automodule:: {m}\n" not in documented}
    assert missing == set()
