"""Each check is fed a page that breaks it, and one that does not."""

import base64
import io
import os

import nbformat
import pytest
from nbformat import NotebookNode
from PIL import Image

from tools import checks, links

NEW = nbformat.v4


def notebook(*cells):
    return NEW.new_notebook(
        cells=[NotebookNode(cell, id=f"cell-{number}") for number, cell in enumerate(cells)]
    )


def text(source):
    return NEW.new_markdown_cell(source)


def code(source="x = 1", *outputs, count=1, **metadata):
    return NEW.new_code_cell(
        source, execution_count=count, outputs=list(outputs), metadata=metadata
    )


def printed(shown="ok\n", name="stdout"):
    return NEW.new_output("stream", name=name, text=shown)


def glued(name, value):
    record = "application/papermill.record/"
    return NEW.new_output(
        "display_data",
        data={f"{record}text/plain": value},
        metadata={"scrapbook": {"name": name, "mime_prefix": record}},
    )


def picture(side=8):
    noise = Image.frombytes("RGB", (side, side), os.urandom(3 * side * side))
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return NEW.new_output("display_data", data={"image/png": data})


DESCRIBED = {
    "image": {"alt": "A line that rises to the right"},
    "figure": {"caption": "The loss falls as history grows."},
}
GOOD_PAGE = notebook(
    text("# A page\n\n**What you will learn.** Much.\n\n**Prerequisites.** None."),
    text("**Time to run.** Two seconds."),
    code("print('ok')", printed()),
    code("plot()", picture(), count=2, mystnb=DESCRIBED),
)
NOTEBOOK_CHECKS = [
    checks.check_executed,
    checks.check_outputs,
    checks.check_sources,
    checks.check_exempt,
    checks.check_figures,
    checks.check_header,
    checks.check_cell_lengths,
    checks.check_cell_widths,
    checks.check_names,
]


@pytest.mark.parametrize("check", NOTEBOOK_CHECKS, ids=lambda check: check.__name__)
def test_a_good_page_has_no_problem(check):
    assert check(GOOD_PAGE, "page") == []


@pytest.mark.parametrize(
    ("check", "broken", "expected"),
    [
        (checks.check_executed, notebook(code(count=None)), "never run"),
        (
            checks.check_executed,
            notebook(code("1", printed(), count=2), code("2", printed(), count=1)),
            "in order",
        ),
        (checks.check_executed, notebook(code(), code(count=2)), "stripped"),
        (checks.check_outputs, notebook(code("f()", printed("oh", "stderr"))), "stderr"),
        (
            checks.check_outputs,
            notebook(code("f()", NEW.new_output("error", ename="KeyError", evalue="x"))),
            "KeyError",
        ),
        (
            checks.check_outputs,
            notebook(code("f()", printed("<Line2D object at 0x7f12ab34cd>"))),
            "address",
        ),
        (checks.check_outputs, notebook(code("f()", printed("in /home/me/x.py"))), "path"),
        (checks.check_outputs, notebook(code("f()", printed("saved C:\\Users\\x"))), "path"),
        (checks.check_outputs, notebook(code("f()", printed("took 12.5 ms"))), "timing"),
        (checks.check_outputs, notebook(code("f()", printed("took 3.2 s"))), "timing"),
        (checks.check_outputs, notebook(code("f()", printed(" 50%|█████     |"))), "progress"),
        (
            checks.check_outputs,
            notebook(code("f()", NEW.new_output("display_data", data={"image/svg+xml": "<svg/>"}))),
            "SVG",
        ),
        (checks.check_sources, notebook(code("plot(x);")), "semicolon"),
        (checks.check_sources, notebook(code("%time f()")), "times itself"),
        (
            checks.check_exempt,
            notebook(*[code("version", tags=["nbval-skip"])] * 2),
            "2 cells",
        ),
        (checks.check_exempt, notebook(code("f()", tags=["raises-exception"])), "no version"),
        (checks.check_exempt, notebook(code("# NBVAL_IGNORE_OUTPUT\nf()")), "no version"),
        (checks.check_figures, notebook(code("plot()", picture())), "without alt"),
        (
            checks.check_figures,
            notebook(code("plot()", picture(), mystnb={"image": DESCRIBED["image"]})),
            "without caption",
        ),
        (
            checks.check_figures,
            notebook(code("plot()", picture(), picture(), mystnb=DESCRIBED)),
            "2 figures",
        ),
        (
            checks.check_figures,
            notebook(code("plot()", picture(200), mystnb=DESCRIBED)),
            "bytes",
        ),
        (checks.check_header, notebook(text("No title")), "title"),
        (checks.check_header, notebook(text("# Title\n\nPrerequisites")), "Time to run"),
        (checks.check_header, notebook(text("# One"), text("# Two")), "2 titles"),
        (
            checks.check_cell_lengths,
            notebook(*[code("x = 1\n" * 7)] * 3),
            "half of the cells",
        ),
        (
            checks.check_cell_lengths,
            notebook(*[code()] * 8, *[code("x = 1\n" * 19)] * 2),
            "exceed 18",
        ),
        (checks.check_cell_widths, notebook(code("x = 1  " + "#" * 68)), "of 75 columns"),
        (
            checks.check_cell_widths,
            notebook(code("x = 1\ny = 2  " + "#" * 90, tags=["hide-input"])),
            "of 97 columns",
        ),
    ],
)
def test_a_broken_page_is_found(check, broken, expected):
    problems = check(broken, "page")
    assert any(expected in problem for problem in problems), problems


def test_a_line_as_wide_as_the_page_passes():
    assert checks.check_cell_widths(notebook(code("#" * 74)), "page") == []


REMOVED = {"tags": ["remove-cell"]}


@pytest.mark.parametrize(
    ("hidden", "visible"),
    [
        ("row = 1", "print(row)"),
        ("import numpy as row", "row.ones(3)"),
        ("from a import b as row", "[row for _ in range(3)]"),
        ("def row():\n    return 1", "@row\ndef f(): pass"),
        ("class row: pass", "class Other(row): pass"),
        ("for row in range(3):\n    pass", "x = f'{row:.2f}'"),
        ("with open('a') as row:\n    pass", "row.read()"),
        ("a, (row, *c) = 1, (2, 3)", "lambda: row"),
        ("def f():\n    global row\n    row = 1\n\n\nf()", "def g():\n    return row"),
        ("(row := 1)", "row += 1"),
        ("row = 1", "row = row + 1"),
        ("row = {}", "row['a'] = 1"),
        ("row = 1", "def g(x=row):\n    row = 2\n    return row"),
        ("row = 1", "print([row for x in y])\nrow = 2"),
        ("row: int = 1", "class A:\n    b = row"),
    ],
)
def test_a_name_that_only_a_removed_cell_makes_is_found(hidden, visible):
    broken = notebook(code(hidden, **REMOVED), code(visible))
    (problem,) = checks.check_names(broken, "page")
    assert problem.startswith("page: cell 1 reads 'row', which only cell 0 makes")
    assert checks.check_names(notebook(code(hidden, tags=["remove-input"]), code(visible)), "page")
    opened = notebook(code(hidden, tags=["hide-input"]), code(visible))
    assert checks.check_names(opened, "page") == []


def test_a_name_that_a_later_cell_makes_visible_is_found_where_it_is_missing():
    late = notebook(code("row = 1", **REMOVED), code("print(row)"), code("row = 2"))
    assert len(checks.check_names(late, "page")) == 1


@pytest.mark.parametrize(
    ("hidden", "visible"),
    [
        ("row = 1", "row = 2\nprint(row)"),
        ("row = 1", "for row in range(3):\n    print(row)"),
        ("row = 1", "[row for row in range(3)]"),
        ("row = 1", "def f(row):\n    return row"),
        ("row = 1", "def f():\n    row = 2\n    return row"),
        ("row = 1", "def f():\n    return row\n\n\nrow = 2"),
        ("row = 1", "table.row"),
        ("row = 1", "f(row=2)"),
        ("row = 1", "print('row')"),
        ("[row for row in range(3)]", "print(row)"),
        ("row = 1", "%matplotlib inline\nprint(1)"),
    ],
)
def test_a_name_that_the_page_shows_passes(hidden, visible):
    good = notebook(code(hidden, **REMOVED), code(visible))
    assert checks.check_names(good, "page") == []


def test_removed_cells_may_read_each_other():
    good = notebook(code("row = 1", **REMOVED), code("print(row)", **REMOVED))
    assert checks.check_names(good, "page") == []


@pytest.mark.parametrize(
    "source",
    [
        "![](a.png)",
        '<img src="a.png">',
        "<p>\n<img src='a.png' alt=''>\n</p>",
        "```{image} a.png\n```",
        ":::{figure} a.png\n:name: fig-a\n\nA caption that says something.\n:::",
        ":::{figure} a.png\n:alt: A line that rises\n:::",
        "::::{note}\n:::{figure} a.png\nA caption that says something.\n:::\n::::",
    ],
)
def test_an_image_without_words_is_found(source):
    assert checks.check_images(f"# Page\n\n{source}\n", "page")


def test_described_images_pass():
    source = (
        "![A line that rises](a.png)\n\n<img src='a.png' alt='A line that rises'>\n\n"
        ":::{figure} a.png\n:alt: A line that rises\n\nA caption.\n:::\n"
    )
    assert checks.check_images(source, "page") == []


@pytest.mark.parametrize(
    "source",
    [
        "The loss is 2.31 nats.",
        "It rises by 12.5 %.",
        "| a | b |\n| --- | --- |\n| 2.5 | x |",
        "```{note}\nThe loss is 2.31.\n```",
        "## A loss of 2.31",
        "**2.31** nats",
        "A <!-- typed: reason --> here\nand 2.31 on the next line.",
        "with 1,234.5 tokens",
    ],
)
def test_a_typed_decimal_is_found(source):
    assert len(checks.check_typed_numbers(source, "page")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "The loss is {glue:text}`loss:.2f` nats, with `0.5` and $0.5$.",
        "A rate of 0.5 <!-- typed: a setting, not a result -->",
        "[the paper](https://example.org/1710.02603) {cite}`a2018`",
        "```python\nx = 0.5\n```",
        "$$\nx = 0.5\n$$",
        "Python 3.11 and release 2.13.0, 120 users, nine in ten.",
        "```{figure} a.png\n:alt: rises\n:width: 0.5\n```",
        "Section 2. Then 3.",
    ],
)
def test_what_is_no_typed_result_passes(source):
    assert checks.check_typed_numbers(source, "page") == []


def test_a_typed_decimal_is_named_by_its_line():
    source = "# Page\n\n:::{note}\n:class: tip\n\nOne\ntwo 2.5\n:::\n"
    assert checks.check_typed_numbers(source, "page")[0].startswith("page: line 7: 2.5")


def test_twins_differ_only_in_the_framework():
    one = notebook(text("# A model in PyTorch\n\n## By hand"))
    other = notebook(text("# A model in Keras\n\n## By hand"))
    assert checks.check_twins(one, other, "twins") == []


@pytest.mark.parametrize("other", ["# A model\n\n## For real", "# A model", "# Another\n\n## B"])
def test_different_twins_are_found(other):
    one = notebook(text("# A model\n\n## By hand"))
    assert checks.check_twins(one, notebook(text(other)), "twins")


def test_words_are_those_a_reader_reads():
    source = "# Two words\n\nOne `x = 1` $a + b$ *more*, [link](https://example.org).\n"
    assert checks.count_words(source) == 5
    assert checks.check_words([source], "page", 5, 5) == []
    assert checks.check_words([source], "page", 6, 9)
    assert checks.check_words([source], "page", 1, 4)


def test_a_large_notebook_is_found(tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_bytes(b" " * 1_000_001)
    assert checks.check_notebook_size(path)
    path.write_bytes(b" " * 1_000_000)
    assert checks.check_notebook_size(path) == []


@pytest.fixture
def book(tmp_path):
    """A book of two pages; the notebook glues one number."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "root: book/index\nparts:\n- chapters:\n  - file: book/a\n", encoding="utf-8"
    )
    page = notebook(text("# A"), code("glue('loss', 2.5)", glued("loss", "2.5")))
    nbformat.write(page, tmp_path / "book" / "a.ipynb")
    (tmp_path / "book" / "index.md").write_text(
        "# Index\n\n{glue:text}`a.ipynb::loss:.2f` and [a](a.ipynb)\n", encoding="utf-8"
    )
    return tmp_path


def test_a_sound_book_passes(book):
    index = book / "book" / "index.md"
    assert links.check_toc(book) == []
    assert links.check_glue(index) == []
    assert links.check_files(index, book) == []
    assert links.check_unused_glue(book / "book" / "a.ipynb", [index.read_text()]) == []


def test_a_page_outside_the_contents_is_found(book):
    (book / "book" / "b.md").write_text("# B", encoding="utf-8")
    assert links.check_toc(book) == ["book/b is missing from _toc.yml"]


def test_contents_without_a_page_are_found(book):
    (book / "book" / "a.ipynb").unlink()
    assert links.check_toc(book) == ["_toc.yml names book/a, which does not exist"]


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("{glue:text}`a.ipynb::los:.2f`", "nothing is glued as 'los'"),
        ("{glue:text}`loss:.2f`", "no notebook"),
        ("{glue:text}`b.ipynb::loss:.2f`", "no notebook"),
        ("{glue:text}`a.ipynb::loss:d`", "cannot be formatted"),
        ("```{glue} los\n:doc: a.ipynb\n```", "nothing is glued"),
        ("```{note}\n{glue:text}`a.ipynb::los`\n```", "nothing is glued"),
    ],
)
def test_unresolved_glue_is_found(book, use, expected):
    index = book / "book" / "index.md"
    index.write_text(f"# Index\n\n{use}\n", encoding="utf-8")
    problems = links.check_glue(index)
    assert len(problems) == 1
    assert expected in problems[0]


def test_forgotten_glue_is_found(book):
    assert links.check_unused_glue(book / "book" / "a.ipynb", ["no use of it"])


@pytest.mark.parametrize(
    "use", ["[b](b.md)", "![A line that rises](b.png)", "```{figure} b.png\n:alt: x\n```"]
)
def test_a_link_to_no_file_is_found(book, use):
    index = book / "book" / "index.md"
    index.write_text(f"# Index\n\n{use}\n", encoding="utf-8")
    assert len(links.check_files(index, book)) == 1
