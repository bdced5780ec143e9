"""Exports of chat programs, as they are; everything in them is invented."""

import json

import pytest

from companion.corpora import logs

TELEGRAM = {
    "name": "Hiking",
    "type": "private_group",
    "id": 1,
    "messages": [
        {"id": 1, "type": "service", "date": "2020-01-04T10:00:00", "actor": "ana", "text": ""},
        {"id": 2, "type": "message", "date": "2020-01-04T10:01:00", "from": "ana", "text": "hi"},
        {
            "id": 3,
            "type": "message",
            "date": "2020-01-04T10:02:00",
            "from": "bo",
            "text": ["look at ", {"type": "link", "text": "https://a.example"}, " now"],
        },
        {"id": 4, "type": "message", "date": "2020-01-04T10:03:00", "from": "bo", "text": ""},
        {"id": 5, "type": "message", "date": "2020-01-04T10:04:00", "from": None, "text": "gone"},
    ],
}


def test_telegram(said, file):
    found, report, _ = said(file("result.json", json.dumps(TELEGRAM)), format="telegram")
    assert found == [("ana", "hi"), ("bo", "look at <link> now")]
    assert (report.system, report.empty, report.unnamed) == (1, 1, 1)


def test_telegram_with_all_chats(said, file):
    whole = {"about": "?", "chats": {"about": "?", "list": [TELEGRAM, TELEGRAM]}}
    found, report, _ = said(file("result.json", json.dumps(whole)), format="telegram")
    assert len(found) == 4
    assert report.system == 2


def slack(ts, **more):
    return {"type": "message", "ts": f"1577836{ts:03d}.000200", **more}


def test_slack(said, file, tmp_path):
    file("users.json", '[{"id": "U01"}]')
    file("channels.json", '[{"id": "C01"}]')
    texts = {
        1: "hi <@U02> &amp; all",
        2: "see <https://a.example|this> in <#C01|general>",
        3: "<!here> news: &lt;3",
    }
    day = [slack(ts, user=f"U0{ts % 2}", text=text) for ts, text in texts.items()]
    day += [
        slack(4, user="U01", subtype="channel_join", text="<@U01> has joined the channel"),
        slack(5, bot_id="B01", text="built"),
        slack(6, subtype="bot_message", text="built"),
    ]
    file("general/2020-01-01.json", json.dumps(day))
    file("random/2020-01-02.json", json.dumps([slack(900, user="U01", text="later")]))
    found, report, _ = said(tmp_path, format="slack")
    assert found == [
        ("U01", "hi <mention> & all"),
        ("U00", "see <link> in #general"),
        ("U01", "<mention> news : <3"),
        ("U01", "later"),
    ]
    assert (report.rows, report.system) == (4, 3)


def discord(second, kind="Default", bot=False, **more):
    author = {"id": "1", "name": "ana", "isBot": bot}
    moment = f"2020-01-04T10:00:{second:02d}.123+00:00"
    return {"type": kind, "timestamp": moment, "author": author, "content": "hi", **more}


def test_discord(said, file):
    messages = [
        discord(3),
        discord(1, "Reply", content="first"),
        discord(2, "GuildMemberJoin"),
        discord(4, bot=True),
    ]
    whole = {"guild": {"name": "x"}, "channel": {}, "messages": messages, "messageCount": 4}
    found, report, _ = said(file("x.json", json.dumps(whole)), format="discord")
    assert found == [("ana", "first"), ("ana", "hi")]
    assert report.system == 2


def test_a_format_leaves_room_for_other_columns(said, file):
    path = file("result.json", json.dumps(TELEGRAM))
    found, _, _ = said(path, format="telegram", user="id")
    assert [user for user, _ in found] == ["2", "3", "5"]


def test_an_export_of_another_program_says_so(said, file, tmp_path):
    path = file("result.json", json.dumps(TELEGRAM))
    with pytest.raises(
        logs.LogError, match=r"row 1: there is no 'author.name' among its keys: 'id"
    ):
        said(file("x.json", '[{"id": 1, "content": "hi"}]'), format="discord")
    with pytest.raises(logs.LogError, match="there are no rows"):
        said(path, format="slack")
    with pytest.raises(FileNotFoundError, match=r"holds no file \*/\*.json"):
        said(tmp_path, format="slack")
    with pytest.raises(ValueError, match=r"format must be one of 'telegram', .* not 'signal'"):
        said(path, format="signal")
