"""Running a notebook twice gives the same file, and nothing that changes is stored."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

from tools import notebooks
from tools.checks import LARGEST_FIGURE
from tools.environment import SETTINGS

SCRIPT = """\
# %% [markdown]
# # A page

# %%
import os
import matplotlib.pyplot as plt
from companion.glue import glue

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A line."}, "image": {"alt": "A line"}}
_ = plt.plot([1, 2, 3])
plt.show()

# %%
glue("loss", 2.5)
print("one")
print(os.environ["OMP_NUM_THREADS"], os.environ["KERAS_BACKEND"])
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.py").write_text(SCRIPT, encoding="utf-8")
    status = notebooks.main(["new", str(folder / "page.py"), str(folder / "a.ipynb"), "--run"])
    assert status == 0
    return folder / "a.ipynb"


def test_a_second_run_changes_nothing(page):
    before = page.read_bytes()
    assert notebooks.main(["run", str(page)]) == 0
    assert page.read_bytes() == before


def test_what_is_stored(page):
    notebook = nbformat.read(page, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert code[1].metadata["mystnb"]["image"]["alt"] == "A line"
    assert code[1].metadata["tags"] == ["hide-input"]
    assert code[2].outputs[-1].text == f"one\n{SETTINGS['OMP_NUM_THREADS']} tensorflow\n"
    assert notebook.metadata.language_info == {"name": "python"}
    assert len(code[1].outputs[0].data["image/png"]) < LARGEST_FIGURE


def test_a_script_comes_back(page):
    script = notebooks.to_script(notebooks.read(page))
    again = notebooks.from_script(script)
    assert [c.source for c in again.cells] == [c.source for c in notebooks.read(page).cells]
    assert [c.id for c in again.cells] == [c.id for c in notebooks.read(page).cells]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import sys; print('oh', file=sys.stderr)", "stderr"),
        ("object()", "address"),
        ("print('/home/me/data')", "path"),
        ("print('took 3.2 s')", "timing"),
    ],
)
def test_what_is_refused(tmp_path, capsys, source, complaint):
    path = tmp_path / "a.ipynb"
    notebook = notebooks.from_script(f"# %%\n{source}\n")
    notebooks.write(notebook, path)
    before = path.read_bytes()
    assert notebooks.main(["run", str(path)]) == 1
    assert complaint in capsys.readouterr().err
    assert path.read_bytes() == before


def test_an_error_in_a_cell_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a.ipynb"
    notebooks.write(notebooks.from_script("# %%\n1 / 0\n"), path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebooks.main(["run", str(path)])
    assert path.read_bytes() == before


def test_ids_follow_the_text_not_the_place():
    one = notebooks.from_script("# %%\na = 1\n\n# %%\nb = 2\n")
    other = notebooks.from_script("# %%\nnew = 0\n\n# %%\na = 1\n\n# %%\nb = 2\n")
    assert [c.id for c in one.cells] == [c.id for c in other.cells][1:]
    same = notebooks.from_script("# %%\na = 1\n\n# %%\na = 1\n")
    assert len({c.id for c in same.cells}) == 2


def test_a_figure_shrinks_and_looks_the_same():
    ramp = np.linspace(0, 255, 256, dtype=np.uint8)
    pixels = np.full((256, 256, 4), 255, dtype=np.uint8)
    pixels[64:192, :, :3] = ramp[None, :, None]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    small = notebooks.small_png(base64.b64encode(buffer.getvalue()).decode())
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(small))).convert("RGB"), dtype=int)
    assert np.abs(shown - pixels[:, :, :3]).max() <= 4
    assert notebooks.small_png(small) == small
