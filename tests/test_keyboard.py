import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion.corpora import UNKNOWN, Vocabulary
from companion.keyboard import Keyboard

WORDS = ("the", "then", "there", "a", "an", "see", "you", "soon", "zoo")
VOCABULARY = Vocabulary.from_words(WORDS)


class Counting:
    """A model whose state is all it has read, and whose choice depends on it; it counts steps."""

    def __init__(self):
        self.steps = 0

    def begin(self, batch, users=None):
        self.begun_by = users
        return ()

    def step(self, tokens, state, users=None):
        self.steps += 1
        self.users = users
        state = (*state, int(tokens[0]))
        scores = np.random.default_rng(state).normal(size=(1, len(VOCABULARY)))
        return scores - np.log(np.exp(scores).sum()), state


def fresh(history, prefix="", k=3):
    return Keyboard(Counting(), VOCABULARY).suggest(history, prefix, k)


messages = st.lists(st.sampled_from([*WORDS, "unheard"]), max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(messages, st.sampled_from(["", "t", "the", "s", "x"])), max_size=8))
def test_carried_state_changes_no_suggestion(calls):
    keyboard = Keyboard(Counting(), VOCABULARY)
    for history, prefix in calls:
        assert keyboard.suggest(history, prefix) == fresh(history, prefix)


def test_steps_are_spent_on_new_words_only():
    model = Counting()
    keyboard = Keyboard(model, VOCABULARY)
    cost = []
    calls = [
        ([], ""),
        (["see"], ""),
        (["see"], "y"),
        (["see"], "yo"),
        (["see", "you"], ""),
        (["see"], ""),  # a word deleted
        (["then"], ""),  # another message
        (["then", "see", "you"], ""),
    ]
    for history, prefix in calls:
        before = model.steps
        keyboard.suggest(history, prefix)
        cost.append(model.steps - before)
    assert cost == [1, 1, 0, 0, 1, 0, 1, 2]


@settings(max_examples=50, deadline=None)
@given(messages, st.text("thenaz", max_size=3), st.integers(1, 20))
def test_suggestions_are_the_best_real_words_that_begin_so(history, prefix, k):
    suggested = fresh(history, prefix, k)
    model = Counting()
    state = model.begin(1)
    for token in [1, *VOCABULARY.encode(history)]:
        log_probs, state = model.step([token], state)
    ranked = [VOCABULARY.words[i] for i in np.argsort(-log_probs[0])]
    assert suggested == [w for w in ranked if w in WORDS and w.startswith(prefix)][:k]


def test_words_and_ids_mean_the_same():
    assert fresh(["see", "you"]) == fresh([VOCABULARY.id("see"), VOCABULARY.id("you")])
    assert fresh(["unheard"]) == fresh([UNKNOWN])


def test_the_user_is_told_to_the_model():
    model = Counting()
    Keyboard(model, VOCABULARY, user=7).suggest([])
    assert model.begun_by.tolist() == model.users.tolist() == [7]


def test_bad_input():
    with pytest.raises(TypeError, match="not the string 'see you'"):
        fresh("see you")
    with pytest.raises(ValueError, match="token id 13 is outside the vocabulary: 0 to 12"):
        fresh([13])
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        fresh([], k=0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"history": [5.9]}, "history must hold words or ids, not 5.9"),
        ({"history": [True]}, "history must hold words or ids, not True"),
        ({"history": None}, "history must be a list of words or ids, not None"),
        ({"history": [], "prefix": None}, "prefix must be a string, not None"),
        ({"history": [], "k": 2.0}, "k must be an integer, not 2.0"),
    ],
)
def test_what_is_no_message_is_refused(call, says):
    with pytest.raises(TypeError, match=says):
        fresh(**call)


def test_a_typed_special_token_is_an_unknown_word():
    for word in ("<pad>", "<begin>", "<end>", "<unknown>"):
        assert fresh(["see", word]) == fresh(["see", UNKNOWN])


def test_integers_of_numpy_will_do():
    assert fresh(np.array([5, 6]), k=np.int64(2)) == fresh([5, 6], k=2)
    Keyboard(Counting(), VOCABULARY, user=np.int32(7))


def test_user_and_vocabulary_are_checked():
    with pytest.raises(ValueError, match="user must be at least 0, not -7"):
        Keyboard(Counting(), VOCABULARY, user=-7)
    model = Counting()
    model.vocabulary_size = 12
    with pytest.raises(ValueError, match="the model's, of 12 words; this one has 13"):
        Keyboard(model, VOCABULARY)


def test_a_failed_step_leaves_nothing_wrong():
    class Failing(Counting):
        def step(self, tokens, state, users=None):
            if self.steps == 2:
                self.steps += 1
                raise KeyboardInterrupt
            return super().step(tokens, state, users)

    keyboard = Keyboard(Failing(), VOCABULARY)
    with pytest.raises(KeyboardInterrupt):
        keyboard.suggest(["see", "you"])
    assert keyboard.suggest(["see", "you"]) == fresh(["see", "you"])
