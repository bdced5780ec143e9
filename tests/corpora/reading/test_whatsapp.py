"""WhatsApp's exports of a chat, from several phones and languages; everything said is invented."""

import numpy as np
import pytest

from companion.corpora import logs

JANUARY_4 = int(np.datetime64("2020-01-04T00:00:00", "us").astype(int))
MINUTE = 60_000_000
HEADS = {  # who says what follows, on 4 January and on 25 January 2020, at 9:05 and at 22:15
    "android, British": ("04/01/2020, 09:05 - ", "25/01/2020, 22:15 - "),
    "android, American": ("1/4/20, 9:05 AM - ", "1/25/20, 10:15 PM - "),
    "android, new American": ("1/4/20, 9:05\u202fAM - ", "1/25/20, 10:15\u202fPM - "),
    "android, German": ("04.01.20, 09:05 - ", "25.01.20, 22:15 - "),
    "android, old German": ("04.01.20 um 09:05 - ", "25.01.20 um 22:15 - "),
    "android, Spanish": ("4/1/20 9:05 a. m. - ", "25/1/20 10:15 p. m. - "),
    "android, Dutch": ("04-01-20 09:05 - ", "25-01-20 22:15 - "),
    "android, Swedish": ("2020-01-04 09:05 - ", "2020-01-25 22:15 - "),
    "android, Japanese": ("2020/01/04 9:05 - ", "2020/01/25 22:15 - "),
    "android, Danish": ("04.01.2020 kl. 09.05 - ", "25.01.2020 kl. 22.15 - "),
    "android, Chinese": ("2020/1/4 上午9:05 - ", "2020/1/25 下午10:15 - "),
    "iPhone, British": ("[04/01/2020, 09:05:00] ", "\u200e[25/01/2020, 22:15:00] "),
    "iPhone, American": ("[1/4/20, 9:05:00\u202fAM] ", "\u200e[1/25/20, 10:15:00\u202fPM] "),
    "iPhone, German": ("[04.01.20, 09:05:00] ", "[25.01.20, 22:15:00] "),
}


@pytest.mark.parametrize("heads", HEADS.values(), ids=HEADS)
def test_dates_of_many_countries(said, file, heads):
    first, second = heads
    found, report, corpus = said(
        file("chat.txt", f"{first}Ana Ortiz: see you\n{second}Bo: bye\n"), format="whatsapp"
    )
    assert found == [("Ana Ortiz", "see you"), ("Bo", "bye")]
    moments = [(9 * 60 + 5) * MINUTE, (21 * 1440 + 22 * 60 + 15) * MINUTE]
    assert sorted(corpus.times - JANUARY_4) == moments
    assert report.rows == 2


def test_messages_have_many_lines(said, file):
    text = (
        "04/01/2020, 09:05 - Ana: one\ntwo: 2\n\n12/13 people came\n25/01/2020, 09:06 - Bo: hi\r\n"
    )
    found, report, _ = said(file("chat.txt", text), format="whatsapp")
    assert found == [("Ana", "one two : 2 12/13 people came"), ("Bo", "hi")]
    assert report.rows == 2


NOBODY = [
    "25/01/2020, 09:00 - Messages and calls are end-to-end encrypted.",
    "25/01/2020, 09:00 - Ana added Bo",
    "[25/01/2020, 09:00:00] Hikers: \u200eAna changed the group description",
    "25/01/2020, 09:00 - Bo: This message was deleted",
    "25/01/2020, 09:00 - Bo: Diese Nachricht wurde gelöscht.",
]
ATTACHED = [
    "25/01/2020, 09:00 - Bo: <Media omitted>",
    "25/01/2020, 09:00 - Bo: <Medien ausgeschlossen>",
    "25/01/2020, 09:00 - Bo: IMG-20200125-WA0001.jpg (file attached)",
    "25/01/2020, 09:00 - Bo: \u200eIMG-20200125-WA0001.jpg (Datei angehängt)",
    "[25/01/2020, 09:00:00] Bo: \u200eimage omitted",
    "[25/01/2020, 09:00:00] Bo: \u200eAudio weggelassen",
    "\u200e[25/01/2020, 09:00:00] Bo: \u200e<attached: 00000001-PHOTO-2020.jpg>",
    "[25/01/2020, 09:00:00] Bo: \u200edocumento omitido",
]
HI = "25/01/2020, 10:00 - Ana: hi\n"


@pytest.mark.parametrize("line", NOBODY)
def test_lines_that_nobody_wrote_are_left_out(said, file, line):
    found, report, _ = said(file("chat.txt", f"{line}\n{HI}"), format="whatsapp")
    assert found == [("Ana", "hi")]
    assert (report.rows, report.system, report.attachments) == (1, 1, 0)


@pytest.mark.parametrize("line", ATTACHED)
def test_attachments_are_counted(said, file, line):
    found, report, _ = said(file("chat.txt", f"{line}\n{HI}"), format="whatsapp")
    assert found == [("Ana", "hi")]
    assert (report.rows, report.empty, report.attachments, report.system) == (2, 1, 1, 0)
    assert "left out: 1 attachments" in str(report)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("25/01/2020, 09:00 - Bo: IMG-1.jpg (file attached)\nlook at this", "look at this"),
        ("25/01/2020, 09:00 - Bo: hello \u200e<This message was edited>", "hello"),
        ("25/01/2020, 09:00 - Bo: i <3 you", "i <3 you"),
        ("25/01/2020, 09:00 - Bo: note: bring food", "note : bring food"),
        ("25/01/2020, 09:00 - Bo:\nfirst line empty", "first line empty"),
        ("[25/01/2020, 09:00:00] ~\u202fBo: who am i", "who am i"),
        ("25/01/2020, 09:00 - \u202aBo\u202c: hi", "hi"),
    ],
)
def test_what_people_write_is_kept(said, file, line, text):
    found, _, _ = said(file("chat.txt", f"{line}\n{HI}"), format="whatsapp")
    assert found[0] == ("Bo", text)


def test_day_and_month_are_told_by_their_order_or_not_at_all(said, file):
    growing = "03/01/2020, 09:00 - Bo: a\n05/01/2020, 09:00 - Bo: b\n01/02/2020, 09:00 - Bo: c\n"
    found, _, corpus = said(file("chat.txt", growing), format="whatsapp")
    assert [text for _, text in found] == ["a", "b", "c"]
    assert corpus.times.max() - corpus.times.min() == 29 * 1440 * MINUTE
    either = file("chat.txt", "03/01/2020, 09:00 - Bo: a\n05/02/2020, 09:00 - Bo: b\n")
    with pytest.raises(logs.LogError, match=r"chat.txt: its dates .*time_format='%d/%m/%y' or tim"):
        said(either, format="whatsapp")
    for order, days in (("%d/%m/%Y", 33), ("%m/%d/%Y", 62)):
        times = said(either, format="whatsapp", time_format=order)[2].times
        assert times.max() - times.min() == days * 1440 * MINUTE
    with pytest.raises(
        logs.LogError, match=r"row 1: there is no such date .* read as mdy: pass ti"
    ):
        said(file("chat.txt", HI), format="whatsapp", time_format="%m/%d/%y")


def test_a_file_that_is_no_chat_says_so(said, file):
    for name in ("whatsapp", "irc"):
        with pytest.raises(
            logs.LogError, match=f"none of its 2 lines .* format='{name}' does: nam"
        ):
            said(file("chat.txt", "who,said\nana,hi\n"), format=name)
        with pytest.raises(logs.LogError, match="there are no rows"):
            said(file("chat.txt", ""), format=name)
    with pytest.raises(logs.LogError, match=r"chat.txt: the format must show .* pass format, one "):
        said(file("chat.txt", HI), user="a", text="b")


def test_a_folder_of_chats(said, file, tmp_path):
    for name in ("one.txt", "deep/two.txt"):
        file(name, HI)
    file("picture.jpg", b"\xff")
    assert len(said(tmp_path, format="whatsapp")[0]) == 2
