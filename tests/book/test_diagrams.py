"""The diagrams in the repository are what the code draws, and say what the truth says."""

from xml.etree import ElementTree

import numpy as np
import pytest

from companion.corpora import messages
from tools import diagrams


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return diagrams.draw()


def test_stored_diagrams_are_up_to_date(drawn):
    for name, content in drawn.items():
        stored = (diagrams.FOLDER / name).read_text(encoding="utf-8")
        assert stored == content, f"{name} is old: python -m tools.diagrams draws it again"


def test_each_diagram_is_drawn_for_both_themes_and_well_formed(drawn):
    assert {name.rpartition("-")[2] for name in drawn} == {"light.svg", "dark.svg"}
    for name, content in drawn.items():
        twin = name.replace("light", "dark")
        shapes, of_twin = (list(ElementTree.fromstring(c).iter()) for c in (content, drawn[twin]))
        assert [s.tag for s in shapes] == [s.tag for s in of_twin]
        assert [s.text for s in shapes] == [s.text for s in of_twin]


def test_what_everybody_is_shown_is_almost_never_right():
    shared, *personal = diagrams.phones(*messages())
    assert shared.right < 0.1
    for phone in personal:
        assert phone.right > 0.6
        assert set(phone.suggestions) != set(shared.suggestions)


def test_suggestions_are_the_three_most_probable_next_words():
    data, truth = messages()
    shared, *_ = diagrams.phones(data, truth)
    tokens = np.array([[1, *data.vocabulary.encode(diagrams.TYPED)]], dtype=np.int32)
    log_probs = truth.blind(tokens)[0, -1]
    ranked = sorted(range(len(log_probs)), key=lambda i: (-log_probs[i], i))
    assert shared.suggestions == [data.vocabulary.words[i] for i in ranked[:3]]
