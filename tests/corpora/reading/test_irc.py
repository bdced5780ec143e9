"""Logs of four programs; everything said is invented."""

import numpy as np
import pytest

from companion.corpora import logs

IRSSI = """\
--- Log opened Sat Jan 04 10:00:00 2020
10:00 -!- ana [~ana@a.example] has joined #hikes
10:01 < ana> hello all
10:02 <@bo_> ana: hi
10:03  * ana waves
10:04 -!- cy [~cy@a.example] has quit [Quit: bye]
--- Day changed Sun Jan 05 2020
09:00 <+ana> \x02morning\x0f \x0304,01all
"""
ZNC = """\
[10:00:59] *** Joins: ana (~ana@a.example)
[10:01:00] <ana> hello all
[10:02:00] <bo_> ana: hi
[10:03:00] * ana waves
[10:04:00] *** Quits: cy (~cy@a.example) (bye)
"""
WEECHAT = """\
2020-01-04 10:00:00\t-->\tana (~ana@a.example) has joined #hikes
2020-01-04 10:01:00\tana\thello all
2020-01-04 10:02:00\t@bo_\tana: hi
2020-01-04 10:03:00\t *\tana waves
2020-01-04 10:04:00\t<--\tcy has quit
2020-01-04 10:04:00\t--\tcy is now known as cyd
2020-01-05 09:00:00\t+ana\tmorning all
"""
HEXCHAT = """\
**** BEGIN LOGGING AT Sat Jan  4 10:00:00 2020
[2020-01-04 10:01:00] <ana> hello all
[2020-01-04 10:02:00] <bo_> ana: hi
"""
SAID = [("ana", "hello all"), ("bo_", "ana : hi"), ("ana", "waves"), ("ana", "morning all")]
FIRST = np.datetime64("2020-01-04T10:01", "us").astype(int)


@pytest.mark.parametrize(
    ("name", "text", "expected", "nobody"),
    [
        ("#hikes.log", IRSSI, SAID, 4),
        ("2020-01-04.log", ZNC, SAID[:3], 2),
        ("hikes_20200104.log", ZNC, SAID[:3], 2),
        ("irc.net.#hikes.weechatlog", WEECHAT, SAID, 3),
        ("hikes.log", HEXCHAT, SAID[:2], 1),
    ],
)
def test_logs_of_several_programs(said, file, name, text, expected, nobody):
    found, report, corpus = said(file(name, text), format="irc")
    assert found == expected
    assert corpus.times.min() == FIRST
    assert (report.rows, report.system) == (len(expected), nobody)
    day = 24 * 60 - 61
    if len(expected) == 4:
        assert corpus.times.max() - FIRST == day * 60_000_000


def test_a_folder_of_days(said, file, tmp_path):
    file("2020-01-04.log", ZNC)
    file("2020-01-05.log", "[09:00:00] <+ana> morning all\n")
    assert said(tmp_path, format="irc")[0] == SAID


def test_a_day_must_be_named(said, file):
    with pytest.raises(
        logs.LogError, match=r"hikes.log, line 2: on which day\? Name the file .*01"
    ):
        said(file("hikes.log", ZNC), format="irc")
    assert said(file("hikes_20209999_20200104.log", ZNC), format="irc")[0] == SAID[:3]
