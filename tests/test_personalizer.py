"""The personalizer, from a log to suggestions: learning, forgetting, saving, in both frameworks."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import companion
from companion import Personalizer, measure
from companion.corpora import logs
from companion.keeping.files import CorruptedFileError
from companion.personal import METHODS, PersonalizerSettings
from companion.personalizer import NotFittedError
from companion.settings import BaseModelConfig, TrainingConfig

USERS = [f"person-{i:02}" for i in range(24)]
FRIENDS = ["yuki", "omar", "lena", "tomas", "aisha", "pedro"]
TINY = PersonalizerSettings(
    base=BaseModelConfig(embedding=12, hidden=16),
    training=TrainingConfig(epochs=4, learning_rate=2e-2),
    steps=1,
    rates=(0.4, 1.0),
    passes=(1,),
    targets=3000,
)
TEXTS = ["", "lunch with ", "see yo", "tonight at ", "i saw "]


def write_log(path, users=USERS, messages=30):
    """A log in which each user has a friend, and a word that nobody else ever writes."""
    rng = np.random.default_rng(0)
    plans = ["lunch with {} at noon", "see you tonight {} !", "i saw {} in town", "are you there ?"]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sent", "author", "body"])
        for i in range(messages):
            for number, user in enumerate(users):
                text = plans[rng.integers(len(plans))].format(FRIENDS[number % len(FRIENDS)])
                own = f" secretword{number:02}" if i % 5 == 0 else ""
                rows.writerow([i, user, text + own])
    return path


def fitted(method, framework, path, settings=TINY):
    keyboard = Personalizer(method, framework, settings, progress=False)
    return keyboard.fit(path, user="author", text="body", time="sent")


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return write_log(tmp_path_factory.mktemp("log") / "log.csv")


@pytest.fixture(scope="module")
def counting(log, tmp_path_factory):
    """A folder with a personalizer that counts, and nothing else: quick to load."""
    folder = tmp_path_factory.mktemp("counting") / "keyboard"
    fitted("cache", "pytorch", log).save(folder)
    return folder


@pytest.fixture(scope="module")
def embedded(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedded") / "keyboard"
    fitted("user_embedding+cache", "pytorch", log).save(folder)
    return folder


@pytest.fixture(params=["counting", "embedded"])
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def keyboard(folder):
    return Personalizer.load(folder, progress=False)


def suggestions(keyboard, users=(*USERS[:5], "nobody")):
    return [keyboard.suggest(user, text) for user in users for text in TEXTS]


def content(folder):
    """Every byte in a folder, names of files included."""
    paths = list(folder.rglob("*"))
    return b"".join(path.read_bytes() for path in paths if path.is_file()) + str(paths).encode()


def test_it_suggests_each_users_own_friend(keyboard):
    for number in range(6):
        assert FRIENDS[number] in keyboard.suggest(USERS[number], "lunch with ")
        assert (
            keyboard.suggest(USERS[number], f"lunch with {FRIENDS[number][:2]}")[0]
            == (FRIENDS[number])
        )


def test_the_last_word_is_a_beginning_unless_a_space_follows(keyboard):
    assert "lunch" in keyboard.suggest("nobody", "lu")
    assert "with" in keyboard.suggest("nobody", "lunch ")
    assert all(word.startswith("to") for word in keyboard.suggest("nobody", "i saw to"))
    assert keyboard.suggest("nobody", "Lunch WI") == keyboard.suggest("nobody", "lunch wi")
    assert len(keyboard.suggest("nobody", "see you tonight !", k=5)) == 5


def test_a_word_of_ones_own_is_suggested_to_nobody_else(keyboard):
    assert keyboard.suggest(USERS[3], "are you there secr") == ["secretword03"]
    assert keyboard.suggest(USERS[4], "are you there secretword03") == []


def test_what_is_learned_counts_at_once(keyboard):
    user = USERS[0]
    assert keyboard.suggest(user, "lunch with zu") == []
    keyboard.learn(user, "Lunch with Zulema at noon")
    assert keyboard.suggest(user, "lunch with zu") == ["zulema"]
    for _ in range(20):
        keyboard.learn(user, "lunch with pedro at noon")
    assert keyboard.suggest(user, "lunch with ")[0] == "pedro"
    assert keyboard.suggest(USERS[6], "lunch with ")[0] == FRIENDS[0]


def test_somebody_new_is_learned_too(keyboard):
    before = keyboard.suggest("new one", "lunch with ")
    assert before == keyboard.suggest("nobody", "lunch with ")
    for _ in range(10):
        keyboard.learn("new one", "lunch with quentin")
    assert "new one" in keyboard.users
    assert keyboard.suggest("new one", "lunch with qu") == ["quentin"]
    keyboard.refit()
    assert len(keyboard.suggest("new one", "lunch with ")) == 3
    assert keyboard.suggest("nobody", "lunch with ") == before


def test_refitting_gives_states_to_those_who_wrote_and_only_them(embedded):
    keyboard = Personalizer.load(embedded, progress=False)
    kept = keyboard._kept
    for _ in range(5):
        keyboard.learn("new one", "see you tonight pedro !")
    old = kept.network.states
    keyboard.refit()
    assert len(kept.network.known_users) == len(old.users) + 1
    np.testing.assert_array_equal(
        kept.network.states.of(old.users).arrays["vector"], old.arrays["vector"]
    )
    assert kept.waiting() == []


def test_loaded_equals_saved_also_after_learning_and_forgetting(keyboard, tmp_path):
    keyboard.learn(USERS[1], "lunch with somebody else")
    keyboard.learn("new one", "i saw a zebra in town")
    keyboard.refit(["new one"]) if "embedding" in keyboard.chosen else None
    keyboard.forget(USERS[0])
    keyboard.save(tmp_path / "saved")
    again = Personalizer.load(tmp_path / "saved")
    assert suggestions(again, again.users) == suggestions(keyboard, keyboard.users)
    assert again.users == keyboard.users
    assert (again.chosen, again.reasons) == (keyboard.chosen, keyboard.reasons)
    assert str(again.report()) == str(keyboard.report())


def test_nothing_of_who_was_forgotten_is_in_the_folder(keyboard, tmp_path):
    folder = tmp_path / "saved"
    user, other = USERS[7], USERS[8]
    keyboard.learn(user, "my new password is opensesame")
    keyboard.save(folder)
    for trace in (user, "secretword07", "opensesame"):
        assert trace.encode() in content(folder)
    before = suggestions(keyboard, [other])
    keyboard.forget(user)
    keyboard.save(folder)
    for trace in (user, "secretword07", "opensesame", "password"):
        assert trace.encode() not in content(folder)
    assert user not in keyboard.users
    assert keyboard.suggest(user, "lunch with ") == keyboard.suggest("nobody", "lunch with ")
    assert keyboard.suggest(other, "are you there secr") == ["secretword08"]
    assert suggestions(keyboard, [other])[0] == before[0]


def test_words_of_users_who_are_all_forgotten_leave_the_vocabulary(counting, tmp_path):
    keyboard = Personalizer.load(counting)
    writers = [user for number, user in enumerate(USERS) if number % len(FRIENDS) == 2]
    for user in writers[:-1]:
        keyboard.forget(user)
    keyboard.save(tmp_path / "saved")
    assert b"lena" in content(tmp_path / "saved")
    keyboard.forget(writers[-1])
    keyboard.save(tmp_path / "saved")
    assert b"lena" not in content(tmp_path / "saved")
    assert keyboard.suggest("nobody", "lunch with le") == []
    assert not any("<" in word for word in keyboard.suggest("nobody", "lunch with ", k=99))
    assert len(keyboard.suggest("nobody", "lunch with ", k=10)) == 10


def test_everybody_can_be_forgotten(keyboard, tmp_path):
    for user in keyboard.users:
        keyboard.forget(user)
    keyboard.learn("somebody", "lunch with quentin")
    keyboard.save(tmp_path / "saved")
    again = Personalizer.load(tmp_path / "saved")
    assert again.users == ["somebody"]
    assert suggestions(again, ["somebody"]) == suggestions(keyboard, ["somebody"])


def test_the_report_says_what_it_buys_and_for_whom(keyboard):
    report = keyboard.report()
    assert list(report.table.index)[:2] == ["everybody's model", "cache"]
    assert report.table.loc["cache", "gain"] > 0.1
    assert report.table["gain_low"].iloc[1] < report.table["gain"].iloc[1]
    assert (report.table["bytes"].iloc[1:] > 0).all()
    assert set(report.users.index) == set(USERS)
    assert report.groups["users"].sum() == len(USERS)
    assert len(report.hurt) < len(USERS) / 2
    assert keyboard.chosen in str(report)
    keyboard.forget(USERS[5])
    assert USERS[5] not in keyboard.report().users.index


def test_the_gain_reported_is_that_of_the_test_text(log):
    keyboard = fitted("cache", "pytorch", log)
    kept, table = keyboard._kept, keyboard.report().table
    assert table.loc["cache", "loss"] < table.loc["everybody's model", "loss"]
    counted = kept.counts.unigrams.totals.sum()
    assert counted == kept.texts.fitted.n_tokens + len(kept.texts.fitted)  # all text, test included


def test_the_recommended_method_is_checked_and_says_why(log, tmp_path):
    keyboard = fitted("recommended", "pytorch", log)
    assert keyboard.chosen in METHODS
    reasons = " ".join(keyboard.reasons)
    assert "24 users" in reasons
    assert "validation text" in reasons
    assert reasons.endswith(f"so the {keyboard._kept.method.title} serves")
    few = write_log(tmp_path / "few.csv", USERS[:3], messages=10)
    assert "too few users" in fitted("recommended", "pytorch", few).reasons[0]


def test_counting_that_gains_nothing_does_not_serve(tmp_path):
    """Everybody writes the same: what is personal is noise, and is not kept."""
    rng = np.random.default_rng(1)
    words = ["red", "green", "blue", "white", "black"]
    path = tmp_path / "same.csv"
    rows = [f"u{i % 8},{' '.join(rng.choice(words, 4))}" for i in range(400)]
    path.write_text("user,text\n" + "\n".join(rows))
    keyboard = Personalizer(settings=TINY, framework="pytorch", progress=False).fit(
        path, "user", "text"
    )
    assert keyboard.chosen == "everybody"
    assert any("not enough" in reason for reason in keyboard.reasons)


@pytest.mark.parametrize("method", ["everybody", "hypernetwork+cache", "adapter"])
def test_every_method_can_be_asked_for(method, log, tmp_path):
    keyboard = fitted(method, "pytorch", log, replace(TINY, rates=(1.0,)))
    assert keyboard.chosen == method
    assert keyboard.reasons[0] == f"{method} was asked for"
    keyboard.learn("new one", "lunch with quentin")
    keyboard.refit()
    keyboard.forget(USERS[0])
    keyboard.save(tmp_path / "saved")
    again = Personalizer.load(tmp_path / "saved")
    assert suggestions(again, again.users) == suggestions(keyboard, keyboard.users)


def test_keras_does_the_same(log, tmp_path):
    quick = replace(TINY, rates=(1.0,), training=TrainingConfig(epochs=1, batch_size=64))
    keyboard = fitted("user_embedding+cache", "keras", log, quick)
    assert FRIENDS[0] in keyboard.suggest(USERS[0], "lunch with ")
    keyboard.learn("new one", "lunch with quentin")
    keyboard.refit()
    keyboard.forget(USERS[1])
    keyboard.save(tmp_path / "saved")
    again = Personalizer.load(tmp_path / "saved")
    assert again.framework == "keras"
    assert suggestions(again, again.users) == suggestions(keyboard, keyboard.users)
    assert USERS[1].encode() not in content(tmp_path / "saved")


def test_the_example_of_the_readme_runs_and_is_short(log, tmp_path, monkeypatch):
    readme = (Path(companion.__file__).parents[1] / "README.md").read_text("utf-8")
    example = readme.split("## On your own messages")[1].split("```python\n")[1].split("```")[0]
    assert len([line for line in example.splitlines() if line]) <= 8
    defaults = ("cache", "pytorch", TINY, False)
    monkeypatch.setattr(Personalizer.__init__, "__defaults__", defaults)
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(log.read_text().replace(USERS[0], "ana"))
    exec(example, {})
    keyboard = Personalizer.load("keyboard/")
    assert keyboard.suggest("ana", "lunch with yu") == ["yuki"]
    keyboard.forget("ana")


def test_one_user_alone_is_served(tmp_path):
    path = write_log(tmp_path / "one.csv", USERS[:1])
    keyboard = fitted("recommended", "pytorch", path)
    assert len(keyboard.suggest(USERS[0], "lunch with ")) == 3
    assert np.isnan(keyboard.report().table["gain_low"]).all()
    keyboard.save(tmp_path / "saved")
    keyboard.forget(USERS[0])
    keyboard.save(tmp_path / "saved")
    assert b"secretword00" not in content(tmp_path / "saved")


def test_a_corpus_serves_as_well_as_a_log(log, counting):
    corpus = logs.read(log, user="author", text="body", time="sent")
    keyboard = Personalizer("cache", "pytorch", TINY, progress=False).fit(corpus)
    assert suggestions(keyboard) == suggestions(Personalizer.load(counting))


def test_a_tokenizer_of_ones_own_is_passed_again(log, tmp_path):
    settings = replace(TINY, tokenizer=str.split, training=TrainingConfig(epochs=1))
    keyboard = fitted("cache", "pytorch", log, settings)
    keyboard.save(tmp_path / "saved")
    with pytest.raises(ValueError, match="tokenizer of your own"):
        Personalizer.load(tmp_path / "saved")
    again = Personalizer.load(tmp_path / "saved", tokenizer=str.split)
    assert suggestions(again) == suggestions(keyboard)
    again.settings = replace(settings, tokenizer=lambda text: [1])
    with pytest.raises(TypeError, match="not of int"):
        again.learn("ana", "hello")


def test_the_cache_in_it_is_worth_what_it_is_worth_by_hand(log):
    """The personalizer's model of everybody with a cache is the one that a page would build."""
    keyboard = fitted("cache", "pytorch", log)
    kept = keyboard._kept
    number, numbers = kept.texts.id(USERS[2]), kept.numbers
    train = kept.texts.fitted
    model = measure.mix(kept.network, measure.NGram(train, 3), numbers.ngram)
    model = measure.rescale(model, measure.UnigramCache(train, strength=numbers.strength),
                            numbers.power) if numbers.power else model  # fmt: skip
    pairs = measure.BigramCache(train, None, numbers.pair_strength, numbers.strength)
    weight = measure.GrowingWeight(numbers.limit, numbers.half)(train)[number]
    tokens, users = np.array([[1, *kept.texts.encoded(["lunch", "with"])]]), np.array([number])
    by_hand = measure.mix(model, pairs, weight)(tokens, users)[0, -1]
    served = keyboard._keyboard(number).log_probs(["lunch", "with"])
    np.testing.assert_allclose(served, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda k: k.suggest(7, "a"), TypeError, "user must be a string, not int"),
        (lambda k: k.suggest("", "a"), ValueError, "user must not be empty"),
        (lambda k: k.suggest("ana", 7), TypeError, "text must be a string, not int"),
        (lambda k: k.suggest("ana", None), TypeError, "text must be a string, not NoneType"),
        (lambda k: k.suggest("ana", "a", k=0), ValueError, "k must be at least 1"),
        (lambda k: k.learn(None, "a"), TypeError, "user must be a string"),
        (lambda k: k.learn("ana", b"a"), TypeError, "text must be a string, not bytes"),
        (lambda k: k.learn("  ", "hello"), ValueError, "user must not be empty"),
        (lambda k: k.forget("nobody"), ValueError, "none of the 24 users known"),
        (lambda k: k.refit(["nobody"]), ValueError, "none of the 24 users known"),
        (lambda k: k.refit([USERS[0]]), ValueError, "keeps no state"),
    ],
)
def test_a_wrong_call_is_refused_by_name(counting, call, error, message):
    with pytest.raises(error, match=message):
        call(Personalizer.load(counting))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Personalizer("magic"), ValueError, "method must be one of recommended"),
        (lambda: Personalizer(framework="jax"), ValueError, "framework must be one of"),
        (lambda: PersonalizerSettings(rates=()), TypeError, "rates must be a tuple"),
        (lambda: PersonalizerSettings(rates=(0.0,)), ValueError, "rates must be above 0"),
        (lambda: PersonalizerSettings(passes=(0,)), ValueError, "passes must be at least 1"),
        (lambda: PersonalizerSettings(writers=0), ValueError, "writers must be at least 1"),
        (lambda: PersonalizerSettings(order=1), ValueError, "order must be at least 2"),
        (lambda: PersonalizerSettings(lower="no"), TypeError, "lower must be True or False"),
        (lambda: PersonalizerSettings(tokenizer="bpe"), ValueError, "tokenizer must be"),
        (lambda: Personalizer().suggest("ana", "a"), NotFittedError, "call fit, or load one"),
        (lambda: Personalizer().save("x"), NotFittedError, "call fit, or load one"),
        (lambda: Personalizer.load("/nowhere"), FileNotFoundError, "there is no personalizer"),
        (lambda: Personalizer().fit("/nowhere.csv", "a", "b"), FileNotFoundError, "does not exist"),
    ],
)
def test_a_wrong_choice_is_refused_by_name(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_altered_file_is_refused(counting, tmp_path):
    Personalizer.load(counting).save(tmp_path / "saved")
    file = next((tmp_path / "saved").rglob("texts.safetensors"))
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptedFileError):
        Personalizer.load(tmp_path / "saved")


def test_error_messages_hold_no_text_and_no_name(counting):
    keyboard = Personalizer.load(counting)
    for call in (keyboard.forget, lambda user: keyboard.refit([user])):
        with pytest.raises(ValueError, match="known") as caught:
            call("a very private name")
        assert "private" not in str(caught.value)
