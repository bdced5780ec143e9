"""A glued value is exactly what MyST-NB stores, and never something it cannot format."""

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from companion.glue import glue


@pytest.fixture
def shell():
    InteractiveShell.clear_instance()
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def stored(call):
    with capture_output() as captured:
        call()
    return [(output.data, output.metadata) for output in captured.outputs]


@pytest.mark.parametrize("value", [2.5, 120, "one", np.float32(0.5), np.int64(3), np.float64(0.1)])
def test_it_stores_what_myst_nb_stores(shell, value):
    myst_nb = pytest.importorskip("myst_nb")
    plain = value.item() if isinstance(value, np.generic) else value
    expected = stored(lambda: myst_nb.glue("name", plain, display=False))
    assert stored(lambda: glue("name", value)) == expected
    assert len(expected) == 1


@pytest.mark.parametrize("value", [float("nan"), np.inf, np.float32("nan")])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="loss"):
        glue("loss", value)


@pytest.mark.parametrize("value", [None, [1.0], np.zeros(2)])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="loss"):
        glue("loss", value)


def test_outside_a_notebook_nothing_happens(capsys):
    glue("loss", 2.5)
    assert capsys.readouterr().out == ""
