"""Models read word by word say what they say of a whole text."""

import numpy as np
import pytest

from companion import measure
from companion.corpora import BEGIN, UNKNOWN, Corpus
from companion.keyboard import Keyboard
from companion.measure.stepping import Rereading, as_model, as_stepping
from companion.settings import BaseModelConfig

TEXT = Corpus.from_messages(
    [["see", "you", "soon"], ["on", "my", "way"], ["see", "you"], ["my", "dog", "is", "on"]] * 3,
    users=["ana", "ben", "ana", "cleo"] * 3,
)
TOKENS, _ = TEXT.padded(np.arange(4))
USERS = TEXT.users[:4]


class Network:
    """Stands for a network: counts the tokens that it has read one by one."""

    def __init__(self):
        self.model, self.steps = measure.NGram(TEXT), 0

    def log_probs(self, tokens, users=None):
        return self.model(tokens, users)

    def begin(self, batch, users=None):
        return Rereading(self.model).begin(batch)

    def step(self, tokens, state, users=None):
        self.steps += 1
        return Rereading(self.model).step(tokens, state)


def word_by_word(model, tokens, users):
    stepping = as_stepping(model)
    state, found = stepping.begin(len(tokens), users), []
    for column in tokens.T:
        log_probs, state = stepping.step(column, state, users)
        found.append(log_probs)
    return np.stack(found, axis=1)


def combinations():
    network, pairs, words = Network(), measure.BigramCache(TEXT), measure.UnigramCache(TEXT)
    by_user = np.array([0.1, 0.5, 0.9])
    mixed = measure.mix(network, pairs, by_user)
    return {
        "an n-gram": measure.NGram(TEXT),
        "a network": network,
        "its function": network.log_probs,
        "one weight": measure.mix(network, pairs, 0.3),
        "a weight for each user": mixed,
        "rescaled": measure.rescale(network, words, 0.5),
        "mixed, then rescaled": measure.rescale(mixed, words, 0.5),
        "mixed with a mixture": measure.mix(measure.NGram(TEXT), mixed, 0.5),
        "remembered": measure.remembered(network.log_probs),
    }


@pytest.mark.parametrize("name", combinations())
def test_word_by_word_is_the_whole_text(name):
    model = combinations()[name]
    whole = as_model(model)(TOKENS, USERS)
    np.testing.assert_allclose(word_by_word(model, TOKENS, USERS), whole, atol=1e-5)


def test_a_network_in_a_mixture_carries_its_state():
    network = Network()
    for model in (network, network.log_probs, measure.remembered(network.log_probs)):
        network.steps = 0
        word_by_word(measure.mix(model, measure.UnigramCache(TEXT), 0.5), TOKENS, USERS)
        assert network.steps == TOKENS.shape[1]


def test_a_mixture_types():
    ana = measure.mix(measure.NGram(TEXT, order=2), measure.BigramCache(TEXT, strength=0.01), 0.9)
    vocabulary = TEXT.vocabulary
    named = {name: user for user, name in enumerate(TEXT.user_names)}
    assert Keyboard(ana, vocabulary, named["ana"]).suggest(["see"])[0] == "you"
    assert Keyboard(ana, vocabulary, named["cleo"]).suggest(["my"])[0] == "dog"
    assert Keyboard(ana, vocabulary, named["ben"]).suggest(["my"])[0] == "way"


def test_who_types_must_be_said_where_it_matters():
    mixed = measure.mix(measure.NGram(TEXT), measure.NGram(TEXT), np.array([0.1, 0.2, 0.3]))
    rescaled = measure.rescale(measure.NGram(TEXT), measure.UnigramCache(TEXT))
    for model in (mixed, rescaled):
        with pytest.raises(ValueError, match="users must be given"):
            model.step(np.array([BEGIN]), model.begin(1))
    with pytest.raises(ValueError, match="user 3 is unknown"):
        mixed.step(np.array([BEGIN]), mixed.begin(1), np.array([3]))


def test_weights_are_chosen_for_networks_as_they_come():
    network, pairs = Network(), measure.BigramCache(TEXT)
    of_function = measure.choose_weight(network.log_probs, pairs, TEXT)
    assert measure.choose_weight(network, pairs, TEXT) == of_function
    growing = measure.choose_growing_weight(network, pairs, TEXT, TEXT)
    assert growing == measure.choose_growing_weight(network.log_probs, pairs, TEXT, TEXT)
    cache = measure.UnigramCache(TEXT)
    power = measure.choose_power(network.log_probs, cache, TEXT)
    assert measure.choose_power(network, cache, TEXT) == power


@pytest.mark.parametrize("framework", ["pytorch", "keras"])
def test_the_networks_of_the_twins_step(framework):
    base_model = pytest.importorskip(f"companion.{framework}.base_model")
    config = BaseModelConfig(embedding=4, hidden=5)
    network = base_model.BaseModel(len(TEXT.vocabulary), config)
    mixed = measure.mix(network, measure.NGram(TEXT), 0.5)
    tokens = np.where(TOKENS == UNKNOWN, BEGIN, TOKENS)[:, :3]
    np.testing.assert_allclose(word_by_word(mixed, tokens, USERS), mixed(tokens, USERS), atol=1e-5)
