"""The command: its help, its exit codes, what it prints where, and what it never prints."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from companion import Personalizer
from companion.cli import app
from companion.personal import evaluating, typing_line

COMMANDS = ["evaluate", "fit", "suggest", "learn", "forget"]
FRIENDS = ["yuki", "omar", "lena", "tomas"]


def run(*arguments, text=None):
    return CliRunner().invoke(app, [str(one) for one in arguments], input=text)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "log.csv"
    rng = np.random.default_rng(0)
    plans = ["lunch with {} at noon", "see you tonight {}", "i saw {} in town"]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["who", "what"])
        for _ in range(20):
            for user in range(12):
                plan = plans[rng.integers(len(plans))]
                rows.writerow([f"person-{user:02}", plan.format(FRIENDS[user % 4])])
    return path


@pytest.fixture(scope="module")
def folder(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folder") / "keyboard"
    columns = ("--user", "who", "--text", "what")
    found = run("fit", log, folder, *columns, "--method", "cache", "--small")
    assert found.exit_code == 0, found.output
    return folder


@pytest.fixture
def keyboard(folder, tmp_path):
    """A copy that a test may change."""
    Personalizer.load(folder).save(tmp_path / "keyboard")
    return tmp_path / "keyboard"


@pytest.fixture(scope="module")
def evaluated(log, tmp_path_factory):
    """A page, what stands beside it, and what the command said."""
    page = tmp_path_factory.mktemp("report") / "report.html"
    columns = ("--user", "who", "--text", "what")
    methods = "cache,user_embedding+cache"
    found = run(
        "evaluate", log, *columns, "--methods", methods, "--report", page, "--small",
        "--minutes", "1.5",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    return page.read_text(), json.loads(page.with_suffix(".json").read_text()), found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_is_understood(command):
    found = run(command, "--help")
    assert found.exit_code == 0
    example = " ".join(found.output.split("Example:")[1].split())
    assert example.startswith(f"companion {command} ")
    options = set(re.findall(r"--[a-z-]+", example))
    assert options <= set(re.findall(r"--[a-z-]+", found.output.split("Example:")[0]))


def test_the_whole_help_names_every_command():
    assert all(command in run("--help").output for command in COMMANDS)


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "companion", "suggest", "/nowhere", "ana", "private words"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stdout == ""
    assert found.stderr.startswith("error: there is no personalizer")
    assert "Traceback" not in found.stderr
    assert "private" not in found.stderr


def test_three_words_are_suggested_one_a_line(folder):
    found = run("suggest", folder, "person-00", "lunch with ")
    assert found.exit_code == 0
    assert "yuki" in found.stdout.split()
    assert len(found.stdout.split()) == 3


def test_lines_of_the_input_are_answered_line_by_line(folder):
    found = run("suggest", folder, "person-01", text="lunch with \nlunch with om\n")
    first, second = found.stdout.splitlines()
    assert len(first.split(" | ")) == 3
    assert second == "omar"


def test_what_is_learned_is_suggested_and_what_is_forgotten_is_not(keyboard):
    assert run("learn", keyboard, "ana", "lunch with zulema").exit_code == 0
    assert run("learn", keyboard, "ana", "-", text="see zorro\nsee zorro\n").exit_code == 0
    assert run("suggest", keyboard, "ana", "lunch with z").stdout.split() == ["zorro", "zulema"]
    assert run("forget", keyboard, "ana").exit_code == 0
    assert run("suggest", keyboard, "ana", "lunch with z").stdout.split() == []
    files = [path for path in keyboard.rglob("*") if path.is_file()]
    assert not any(b"zulema" in path.read_bytes() for path in files)


def test_the_report_is_told_on_the_output_and_progress_beside_it(evaluated):
    _, _, found = evaluated
    assert "everybody's model" in found.stdout
    assert "240 of 240 rows kept" in found.stderr
    assert "trying cache" in found.stderr
    assert "trying" not in found.stdout


def test_the_page_needs_nothing_from_elsewhere_and_fits_a_phone_and_the_dark(evaluated):
    page, _, _ = evaluated
    assert page.lstrip().startswith("<!DOCTYPE html>")
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"<script|<link|src=|@import|url\(|https?://", page)
    assert page.count("<svg") == page.count('role="img" aria-label="') == 2


def test_the_page_says_what_it_buys_for_whom_and_how(evaluated):
    page, told, _ = evaluated
    assert "240 messages of 12 users" in page
    for heading in ("What each method buys", "For whom", "Who is hurt", "The lines that do it"):
        assert f"<h2>{heading}</h2>" in page
    assert "Recommended:" in page
    assert f"method=&#39;{told['method']}&#39;" in page
    for reason in told["reasons"]:
        assert reason.replace("'", "&#39;") in page


def test_the_file_for_machines_holds_the_same(evaluated):
    page, told, _ = evaluated
    assert told["facts"]["users"] == 12
    rows = dict(zip(told["table"]["index"], told["table"]["data"], strict=True))
    gain = told["table"]["columns"].index("gain")
    assert rows["everybody's model"][gain] is None
    assert f"{rows['cache'][gain]:+.3f}" in page
    assert told["seconds"] < 1.1 * 90


def test_no_word_and_no_name_is_in_the_page_unless_asked_for(evaluated, log):
    page, told, found = evaluated
    text = page + json.dumps(told) + found.output
    assert "user" in text
    assert not any(word in text for word in (*FRIENDS, "person-", "tonight"))


def test_words_are_shown_when_asked_for(log, tmp_path):
    arguments = ("--user", "who", "--text", "what", "--methods", "cache", "--small")
    found = run("evaluate", log, *arguments, "--show-words", "--report", tmp_path / "r.html")
    assert found.exit_code == 0
    assert any(friend in (tmp_path / "r.html").read_text() for friend in FRIENDS)
    assert "person-" not in (tmp_path / "r.html").read_text()


def test_what_there_is_no_time_for_is_left_out_and_named(log, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating.Clock, "left", property(lambda self: 1e-3))
    arguments = ("--user", "who", "--text", "what", "--small", "--minutes", "1")
    found = run("evaluate", log, *arguments, "--report", tmp_path / "r.html")
    assert found.exit_code == 0
    left = json.loads((tmp_path / "r.json").read_text())["left_out"]
    assert any("users: 2 of 12" in line for line in left)
    assert sum("no time left" in line for line in left) == 3
    assert all(line in (tmp_path / "r.html").read_text() for line in left)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit"], 2, "Missing argument"),
        (["sing"], 2, "No such command"),
        (["suggest", "/nowhere", "ana", "a"], 1, "there is no personalizer in /nowhere"),
        (["learn", "{folder}", " ", "hello"], 1, "user must not be empty"),
        (["forget", "{folder}", "private"], 1, "none of the 12 users known"),
        (["fit", "{log}", "x", "--user", "author", "--text", "what"], 1, "author"),
        (["fit", "/nowhere.csv", "x", "--user", "a", "--text", "b"], 1, "does not exist"),
        (["fit", "{log}", "x", "--user", "who", "--text", "what", "--method", "magic"], 1,
         "method must be one of"),
        (["fit", "{log}", "x", "--user", "who", "--text", "what", "--framework", "jax"], 1,
         "framework must be one of"),
        (["evaluate", "{log}", "--user", "who", "--text", "what", "--report", "r.pdf"], 1,
         "must end in .html"),
        (["evaluate", "{log}", "--user", "who", "--text", "what", "--report", "/no/r.html"], 1,
         "there is no folder /no"),
        (["evaluate", "{log}", "--user", "who", "--text", "what", "--report", "r.html",
          "--methods", "cache,magic"], 1, "method must be one of"),
        (["evaluate", "{log}", "--user", "who", "--text", "what", "--report", "r.html",
          "--minutes", "0"], 2, "minutes"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(arguments, code, message, log, folder):
    filled = [one.format(log=log, folder=folder) for one in arguments]
    found = run(*filled)
    assert found.exit_code == code
    assert message in found.stderr
    assert found.stdout == ""
    assert "Traceback" not in found.stderr


def test_a_folder_that_was_refused_stays_away(folder, tmp_path):
    assert run("learn", tmp_path / "none", "ana", "hello").exit_code == 1
    assert run("forget", folder, "nobody").exit_code == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("typed", "key", "expected"),
    [
        ("lun", "c", "lunc"),
        ("lun", "\x7f", "lu"),
        ("lun", "\t", "lunch "),
        ("to lun", "\t", "to lunch "),
        ("to ", "\t", "to lunch "),
        ("to", "\r", ""),
        ("to", "\x1b[A", "to"),
    ],
)
def test_keys_change_what_is_typed(typed, key, expected):
    assert typing_line.after(typed, key, ["lunch", "lung"]) == expected
