"""Further messages of the users of Messages: others than the corpus has, by the same people."""

import numpy as np
import pytest

from companion.corpora import END, PADDING, Corpus, Truth, Vocabulary, messages, sitting
from companion.corpora.generator.grammar import parse_grammar
from companion.corpora.generator.messages import write
from companion.corpora.generator.profiles import draw_profiles

SMALL = """
frame = "{opening} {body}"
[style]
opening = ["", "hi", "hello"]
you = ["you", "u"]
[dialects.plain]
opening = [1, 1, 6]
you = [9, 1]
[dialects.short]
opening = [6, 2, 1]
you = [1, 9]
[personal.friend]
count = 1
words = ["ann", "bo", "cy", "di"]
[common]
time = ["1", "2"]
[topics.meet]
templates = ["see {you} at {time}", "{friend} and {you}"]
[topics.cat]
templates = ["the cat bit {friend}"]
"""


@pytest.fixture(scope="module")
def generated():
    return messages(known_users=12, new_users=3, median_messages=40)


@pytest.fixture(scope="module")
def small() -> Truth:
    grammar = parse_grammar(SMALL)
    profiles = draw_profiles(grammar, 5, np.random.default_rng(0))
    vocabulary = Vocabulary.from_words(grammar.words)
    return Truth(grammar, profiles, vocabulary, np.array([3, 2, 1, 1, 0]))


def texts(corpus: Corpus) -> list[str]:
    return [corpus.text(message) for message in range(len(corpus))]


def test_everybody_asked_writes_so_many_messages(generated):
    _, truth = generated
    further = sitting(truth, np.array([14, 3, 0]), 7)  # known and new users, in any order
    assert further.message_counts[[0, 3, 14]].tolist() == [7, 7, 7]
    assert further.users.tolist() == [0] * 7 + [3] * 7 + [14] * 7
    assert (np.diff(further.times.reshape(3, 7), axis=1) > 0).all()


def test_a_seed_decides_the_messages(generated):
    _, truth = generated
    users = np.arange(5)
    one, again, other = (texts(sitting(truth, users, 20, seed)) for seed in (0, 0, 1))
    assert one == again
    assert np.mean([a == b for a, b in zip(one, other, strict=True)]) < 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_the_messages_are_others_than_those_of_the_corpus(seed):
    data, truth = messages(known_users=12, new_users=3, median_messages=40, seed=seed)
    further = sitting(truth, data.known_users, 24, seed)
    for part in (data.train, data.validation, data.test):
        for user in data.known_users:
            old, new = (texts(corpus.of_users(user)) for corpus in (part, further))
            same = np.mean([a == b for a, b in zip(old, new, strict=False)])
            assert same < 0.2, (user, same)
    seen = {*texts(data.train), *texts(data.validation), *texts(data.test)}
    assert np.mean([text in seen for text in texts(further)]) < 0.1


def test_the_words_are_those_of_the_corpus(generated):
    data, truth = generated
    further = sitting(truth, np.arange(12), 20)
    assert further.vocabulary.words == data.train.vocabulary.words
    assert further.tokens.min() > END > PADDING  # words, or the token of unknown ones
    whole = write(truth.grammar, truth.profiles, further.users, np.random.default_rng(0))
    assert whole.vocabulary.words != further.vocabulary.words  # the corpus lacks some


def test_everybody_writes_as_the_generator_says(small):
    users, count = np.array([1, 4]), 5000
    further = sitting(small, users, count)
    exact = np.exp(small.message_log_likelihoods(further))  # (message, user)
    for user, other in (users, users[::-1]):
        own = further.users == user
        written, first, counts = np.unique(
            np.array(texts(further))[own], return_index=True, return_counts=True
        )
        law = exact[own][first]
        assert len(written) > 5
        assert law[:, user].sum() == pytest.approx(1, abs=0.01)  # nearly all there is
        assert np.abs(counts / count - law[:, user]).max() < 0.025
        assert np.abs(counts / count - law[:, other]).max() > 0.1


@pytest.mark.parametrize(
    ("users", "count", "error", "says"),
    [
        ([0, 5], 3, ValueError, "user id 5 is outside"),
        ([0, -1], 3, ValueError, "user id -1 is outside"),
        ([0, 1, 0], 3, ValueError, "users must name each user once"),
        ([0.0, 1.0], 3, TypeError, "user ids must be integers"),
        ([0], 0, ValueError, "messages must be at least 1, not 0"),
        ([0], 2.5, TypeError, "messages must be an integer, not 2.5"),
    ],
)
def test_what_nobody_can_write_is_refused(small, users, count, error, says):
    with pytest.raises(error, match=says):
        sitting(small, np.array(users), count)
