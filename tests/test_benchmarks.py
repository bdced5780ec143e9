"""The table of benchmarks and what is kept of it; the measuring itself is ``make bench``."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    common,
    fine_tuning,
    frames,
    importing,
    personalizing,
    run,
    serving,
    store,
    user_embeddings,
)
from benchmarks import hypernetworks as hyper
from benchmarks import user_heads as heads
from benchmarks import user_memory as memory
from benchmarks.common import Row
from companion.corpora import Corpus, messages, split

RESULTS = {
    "speed": [Row("training", 0.97, "times", 0.95), Row("loading", 4.0, "s", 3.0, higher=False)],
    "memory": [Row("peak", 2.5, "GB")],
}


def test_a_bar_is_reached_from_its_own_side():
    assert [row.reached for rows in RESULTS.values() for row in rows] == [True, False, None]


def test_the_table_says_what_was_missed():
    lines = run.table(RESULTS).splitlines()
    assert [line.split()[0] for line in lines] == ["training", "loading", "peak"]
    assert "at least 0.95 times" in lines[0]
    assert lines[0].endswith("reached")
    assert "at most 3 s" in lines[1]
    assert lines[1].endswith("MISSED")
    assert lines[2].endswith("2.5 GB")


def test_what_is_kept_comes_back_and_names_no_place(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    run.keep(RESULTS, path)
    monkeypatch.setattr(run, "RESULTS", path)
    assert run._kept() == RESULTS
    setting = json.loads(path.read_text())["setting"]
    assert setting["cores"] >= 1
    assert setting["torch"]
    assert str(Path.home()) not in path.read_text()
    assert "/" not in "".join(map(str, setting.values()))


def test_logs_are_read_only_when_asked_for():
    assert run.LOGS not in run._chosen(None, logs=False)
    assert run.LOGS in run._chosen(None, logs=True)
    assert run._chosen("logs", logs=False) == [run.LOGS]
    with pytest.raises(SystemExit, match="truth"):
        run._chosen("speling", logs=False)


def test_a_ratio_is_how_many_times_faster_ours_is():
    assert common.ratio(ours=lambda: 2.0, plain=lambda: 6.0, rounds=3) == 3.0


def test_importing_is_measured_in_a_process_of_its_own():
    (row,) = importing.rows(small=True)
    assert 0 < row.value < 5
    assert not row.higher


def test_a_frame_is_read_as_quickly_as_a_file():
    (row,) = frames.rows(small=True)
    assert row.bar == 1
    assert 0.3 < row.value < 5


def test_the_store_is_measured_in_one_call_and_in_many():
    measured = {row.name.split(": ")[1]: row for row in store.rows(small=True)}
    assert {*measured} >= {"written", "read", "deleted", "deleted, one a call"}
    assert 1 < measured["bytes a user"].value < store.BYTES


def test_a_personalizer_at_work_is_timed():
    measured = serving.rows("pytorch", small=True)
    assert [row.bar for row in measured] == [serving.SUGGEST, serving.LEARN]
    assert all(row.value > 0 and not row.higher for row in measured)


def test_the_sweep_was_measured_with_the_settings_of_today():
    results = json.loads(user_embeddings.RESULTS.read_text())
    told = (*user_embeddings.TOLD, user_embeddings.LEARNER)
    assert set(results) == {*told, *user_embeddings.VARIANTS, user_embeddings.FITTING}
    for name, measured in results.items():
        assert measured["config"] == user_embeddings.settings(name), name
    for name in (*told, *user_embeddings.VARIANTS):
        low, high = results[name]["interval"]
        assert low < results[name]["captured"] < high


def test_shuffling_changes_who_wrote_and_nothing_else():
    data = split(Corpus.from_messages([["a"], ["b"], ["c"], ["d"]] * 5, users=[*"xyxy"] * 5))
    shuffled = user_embeddings.shuffle_users(data)
    assert shuffled.test is data.test
    for before, after in ((data.train, shuffled.train), (data.validation, shuffled.validation)):
        assert sorted(before.users) == sorted(after.users)
        assert before.tokens is after.tokens
    assert (data.train.users != shuffled.train.users).any()


def test_more_text_is_of_the_same_users_and_more_users_are_others():
    data, truth = messages(known_users=3, new_users=1)
    more = user_embeddings.more_text(data, truth)
    added = more.train.message_counts - data.train.message_counts
    assert added.tolist() == [user_embeddings.MORE] * 3 + [0]
    assert more.test is data.test
    other = user_embeddings.more_users(data, truth)
    assert (len(other.known_users), other.new_users.tolist()) == (33, [3])
    own = other.train.of_users(data.known_users)
    assert [own.text(i) for i in range(len(own))] == [
        data.train.text(i) for i in range(len(data.train))
    ]
    assert other.test.users is data.test.users
    added = other.train.message_counts[data.train.n_users :]
    assert added.tolist() == data.train.message_counts[data.known_users].tolist() * 10


def test_the_sweep_of_fine_tuning_was_measured_with_the_settings_of_today():
    results = json.loads(fine_tuning.RESULTS.read_text())
    assert set(results) == {*fine_tuning.FRONTIER, fine_tuning.HISTORY, fine_tuning.LONGER}
    for name, measured in results.items():
        assert measured["config"] == fine_tuning.settings(name), name
    for name, (_, _, values) in fine_tuning.FRONTIER.items():
        assert [row["value"] for row in results[name]["rows"]] == list(values)


def test_the_sweep_of_user_heads_was_measured_with_the_settings_of_today():
    results = json.loads(heads.RESULTS.read_text())
    assert set(results) == {*heads.VARIANTS, heads.ASKED, heads.DOUBT}
    for name, measured in results.items():
        assert measured["config"] == heads.settings(name), name
    assert [float(d) for d in results[heads.DOUBT]["validation_loss_by_doubt"]] == [*heads.DOUBTS]


def test_the_sweep_of_hypernetworks_was_measured_with_the_settings_of_today():
    results = json.loads(hyper.RESULTS.read_text())
    assert set(results) == {*hyper.VARIANTS, hyper.SHUFFLED, *hyper.NONZERO, hyper.FITTING}
    for name, measured in results.items():
        assert measured["config"] == hyper.settings(name), name
    for name in (*hyper.VARIANTS, hyper.SHUFFLED, *hyper.NONZERO):
        low, high = results[name]["interval"]
        assert low < results[name]["captured"] < high


def test_the_sweep_of_user_memory_was_measured_with_the_settings_of_today():
    results = json.loads(memory.RESULTS.read_text())
    assert set(results) == {*memory.VARIANTS, memory.EMBEDDING}
    for name, measured in results.items():
        assert measured["config"] == memory.settings(name), name
        low, high = measured["interval"]
        assert low < measured["captured"] < high
        assert [int(n) for n in measured["new"]] == [*memory.SUPPORTS]
    assert [row["last"] for row in results["default"]["last"]] == [*memory.LASTS]


def test_whom_evidence_names_is_counted_by_message():
    users, text = np.array([4, 6]), Corpus.from_messages([["a"]] * 4, users=[*"xxyy"])
    text = replace(text, users=text.users * 2 + 4, user_names=("",) * 7)  # of users 4 and 6
    evidence = np.array([[0.0, 1.0], [3.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert heads.named(evidence, text, users) == {"1": 50.0, "2": 100.0}


def test_a_user_alone_is_asked_of_the_users_own_model():
    answers = {1: 10.0, 4: 40.0}
    of_all = personalizing._apart(lambda user, tokens: np.full((*tokens.shape, 2), answers[user]))
    found = of_all(np.zeros((3, 5), np.int32), np.array([4, 1, 4]))
    assert found[:, 0, 0].tolist() == [40.0, 10.0, 40.0]
    assert found.shape == (3, 5, 2)
