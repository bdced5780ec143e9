import numpy as np
import pytest

from companion import measure
from companion.corpora import Corpus

WORDS = [["a"], ["b"], ["c"], ["d"], ["e"], ["f"]]
CORPUS = Corpus.from_messages(WORDS, users=["ana", "ana", "ben", "ben", "cy", "cy"])


def texts(corpus):
    return [(int(user), corpus.text(i)) for i, user in enumerate(corpus.users)]


def test_each_user_types_messages_of_others_and_none_twice():
    typed = measure.of_others(CORPUS, [0, 2], messages=4)
    by_user = {user: [text for who, text in texts(typed) if who == user] for user in (0, 2)}
    assert by_user == {0: ["c", "d", "e", "f"], 2: ["a", "b", "c", "d"]}
    assert typed.users.dtype == CORPUS.users.dtype


def test_the_seed_decides_which():
    first, again, other = (
        texts(measure.of_others(CORPUS, [0, 1, 2], messages=2, seed=seed)) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_model_that_knows_nobody_forgets_nothing():
    typed = measure.of_others(CORPUS, [0, 1], messages=3)
    uniform = np.log(1 / len(CORPUS.vocabulary))

    def blind(tokens, users):
        return np.full((*tokens.shape, len(CORPUS.vocabulary)), uniform)

    assert measure.target_log_probs(blind, typed) == pytest.approx(uniform)


def test_others_must_have_written_enough():
    with pytest.raises(ValueError, match=r"4 messages of others than user 0, not 5"):
        measure.of_others(CORPUS, [0], messages=5)
