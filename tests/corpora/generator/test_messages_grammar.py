"""What the written grammar of Messages promises, checked without the engine that reads it."""

import copy
import random
import re
import statistics
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from companion.corpora.generator import grammar

FILE = Path(grammar.__file__).with_name("messages_grammar.toml")
GRAMMAR = tomllib.loads(FILE.read_text(encoding="utf-8"))
STYLE, PERSONAL, COMMON = GRAMMAR["style"], GRAMMAR["personal"], GRAMMAR["common"]
TEMPLATES = [text for topic in GRAMMAR["topics"].values() for text in topic["templates"]]
PLAIN = {"hi", "no", "off", "so"}  # also words of their own: "says hi", "no milk left", "get off"
LONGEST = 14


def slots(template: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", template)


def owned(grammar: dict, category: str) -> list[str]:
    entry = grammar["personal"][category]
    return entry["words"] if "words" in entry else grammar["lists"][entry["from"]]


def entries(grammar: dict, slot: str) -> list[str]:
    if slot in grammar["personal"]:
        return owned(grammar, slot)
    return grammar["style"].get(slot) or grammar["common"][slot]


def counts(category: str) -> tuple[int, int]:
    count = PERSONAL[category]["count"]
    return (count, count) if isinstance(count, int) else tuple(count)


def texts(grammar: dict) -> list[str]:
    tables = [*grammar["style"].values(), *grammar["common"].values(), *grammar["lists"].values()]
    templates = [text for topic in grammar["topics"].values() for text in topic["templates"]]
    return [entry for table in tables for entry in table] + templates


def tokens(grammar: dict) -> set[str]:
    return {token for text in texts(grammar) for token in text.split() if "{" not in token}


def problems(grammar: dict) -> list[str]:
    """Everything that would keep an engine from reading the grammar."""
    found = []
    homes = Counter([*grammar["style"], *grammar["personal"], *grammar["common"]])
    templates = [text for topic in grammar["topics"].values() for text in topic["templates"]]
    for template in [*templates, grammar["frame"].replace("{body}", "")]:
        found += [f"no slot {slot!r}" for slot in slots(template) if not homes[slot]]
    found += [f"{slot!r} has {n} homes" for slot, n in homes.items() if n > 1]
    used = {slot for template in [*templates, grammar["frame"]] for slot in slots(template)}
    found += [f"{slot!r} is never used" for slot in homes if slot not in used]
    found += [f"{text!r} is said twice" for text, n in Counter(templates).items() if n > 1]
    for text in texts(grammar):
        if text != " ".join(text.split()):
            found.append(f"spaces of {text!r}")
        if re.search(r"[{}]", re.sub(r"(?<!\S)\{\w+\}(?!\S)", "", text)):
            found.append(f"braces of {text!r}")
        if re.search(r"\w[,.!?]|[,.!?]\w", text):
            found.append(f"punctuation inside a token of {text!r}")
    for dialect, table in grammar["dialects"].items():
        if table.keys() != grammar["style"].keys():
            found.append(f"style points of {dialect!r}")
        for point, weights in table.items():
            variants = grammar["style"].get(point, [])
            if len(weights) != len(variants) or min(weights) <= 0:
                found.append(f"weights of {dialect}.{point}")
    return found


def article_problems(grammar: dict) -> list[str]:
    """Find templates where a slot makes "a" stand before a vowel."""
    found = []
    for topic in grammar["topics"].values():
        for template in topic["templates"]:
            for slot in re.findall(r"(?<!\S)a \{(\w+)\}", template):
                found += [f"a {entry}" for entry in entries(grammar, slot) if entry[0] in "aeiou"]
    return found


def expand(rng: random.Random) -> list[str]:
    """Write one message of one new user."""
    dialect = rng.choice(list(GRAMMAR["dialects"].values()))

    def fill(match: re.Match) -> str:
        slot = match[1]
        weights = dialect[slot] if slot in STYLE else None
        return rng.choices(entries(GRAMMAR, slot), weights)[0]

    text = GRAMMAR["frame"].replace("{body}", rng.choice(TEMPLATES))
    return re.sub(r"\{(\w+)\}", fill, text).split()


def test_an_engine_can_read_it():
    assert problems(GRAMMAR) == []


def broken(change) -> list[str]:
    grammar = copy.deepcopy(GRAMMAR)
    change(grammar)
    return problems(grammar)


def test_every_defect_is_noticed():
    home = "topics", "home", "templates"

    def add(template):
        return lambda g: g[home[0]][home[1]][home[2]].append(template)

    assert "no slot 'nobody'" in broken(add("hello {nobody}"))
    assert "spaces of 'two  spaces'" in broken(add("two  spaces"))
    assert any("braces" in p for p in broken(add("{friend}'s place")))
    assert any("punctuation" in p for p in broken(add("are we late?")))
    assert any("said twice" in p for p in broken(add(TEMPLATES[0])))
    assert "'you' has 2 homes" in broken(lambda g: g["common"].update(you=["you"]))
    assert "'moon' is never used" in broken(lambda g: g["common"].update(moon=["full"]))
    assert "weights of formal.you" in broken(lambda g: g["dialects"]["formal"]["you"].append(1))
    assert "weights of texter.you" in broken(
        lambda g: g["dialects"]["texter"].update(you=[1, 0, 1])
    )
    assert "style points of 'bubbly'" in broken(lambda g: g["dialects"]["bubbly"].pop("you"))


def test_articles_fit_every_entry():
    assert article_problems(GRAMMAR) == []
    grammar = copy.deepcopy(GRAMMAR)
    grammar["common"]["event"].append("ice hockey match")
    assert "a ice hockey match" in article_problems(grammar)


def test_text_is_lower_case_but_for_the_habit_of_a_capital_i():
    assert {token for token in tokens(GRAMMAR) if token != token.lower()} <= {"I", "I'm", "I'll"}


def test_topics_and_templates_are_many():
    sizes = {name: len(topic["templates"]) for name, topic in GRAMMAR["topics"].items()}
    assert len(sizes) >= 12
    assert min(sizes.values()) >= 14
    assert sum(sizes.values()) >= 190


def test_the_vocabulary_is_of_the_promised_size():
    assert 1000 <= len(tokens(GRAMMAR)) <= 1350


@pytest.mark.parametrize("point", STYLE)
def test_a_style_point_is_a_choice_of_different_variants(point):
    assert 2 <= len(STYLE[point]) <= 6
    assert len(set(STYLE[point])) == len(STYLE[point])


def test_habits_are_asked_for_often():
    assert len(STYLE) >= 18
    uses = Counter(slot for template in TEMPLATES for slot in slots(template) if slot in STYLE)
    assert min(uses[point] for point in STYLE if point not in ("opening", "ending")) >= 3
    words = sum(n for slot, n in uses.items() if slot not in ("stop", "ask"))
    assert 1.6 <= words / len(TEMPLATES) <= 2.2


def test_templates_leave_habits_to_the_slots():
    variants = {variant for table in STYLE.values() for variant in table} - {""}
    for template in TEMPLATES:
        literal = re.sub(r"\{\w+\}", "|", template)
        said = {v for v in variants if f" {v} " in f" {literal} "}
        assert said <= PLAIN, (template, said)


def test_dialects_are_peaked_and_differ_but_share_some_favorites():
    dialects = GRAMMAR["dialects"]
    assert len(dialects) == 6
    favorites = {}
    for name, table in dialects.items():
        for point, weights in table.items():
            assert 0.55 <= max(weights) / sum(weights) <= 0.92, (name, point)
        favorites[name] = [weights.index(max(weights)) for weights in table.values()]
    for name, mine in favorites.items():
        same = [
            sum(a == b for a, b in zip(mine, other, strict=True))
            for rival, other in favorites.items()
            if rival != name
        ]
        assert 5 <= max(same) < 0.6 * len(STYLE), (name, same)


def test_every_variant_is_somebodys_habit_now_and_then():
    for point, variants in STYLE.items():
        best = [
            max(d[point][k] for d in GRAMMAR["dialects"].values()) for k in range(len(variants))
        ]
        assert min(best) >= 5, point


def test_personal_words_come_from_large_lists():
    assert len(PERSONAL) >= 12
    for category in PERSONAL:
        least, most = counts(category)
        assert 1 <= least <= most <= 5
        assert len(owned(GRAMMAR, category)) >= 30
    assert len(GRAMMAR["lists"]["names"]) >= 130


@pytest.mark.parametrize("name", GRAMMAR["lists"])
def test_a_list_repeats_nothing_and_mixes_one_and_two_tokens(name):
    words = GRAMMAR["lists"][name]
    assert len(set(words)) == len(words)
    assert max(len(word.split()) for word in words) <= 2
    double = sum(" " in word for word in words) / len(words)
    assert double == 0 if name == "names" else 0.15 <= double <= 0.45


def test_personal_words_per_template():
    uses = Counter(sum(slot in PERSONAL for slot in slots(text)) for text in TEMPLATES)
    assert max(uses) == 2
    assert uses[1] / len(TEMPLATES) == pytest.approx(0.55, abs=0.05)
    assert uses[2] / len(TEMPLATES) == pytest.approx(0.10, abs=0.03)


def test_no_template_asks_twice_for_one_personal_word():
    for template in TEMPLATES:
        names = [slot for slot in slots(template) if slot in PERSONAL]
        assert len(set(names)) == len(names), template


@pytest.mark.parametrize("slot", COMMON)
def test_what_everybody_says_alike_stays_small(slot):
    assert 3 <= len(COMMON[slot]) <= 12
    assert len(set(COMMON[slot])) == len(COMMON[slot])


def test_first_words_vary():
    first = Counter(template.split()[0] for template in TEMPLATES)
    assert max(first.values()) <= 0.07 * len(TEMPLATES)
    assert len(first) >= 0.4 * len(TEMPLATES)


def test_messages_are_as_long_as_messages():
    rng = random.Random(0)
    lengths = [len(expand(rng)) for _ in range(6000)]
    assert 7.5 <= statistics.mean(lengths) <= 8.1
    assert statistics.median(lengths) in (7, 8)
    assert min(lengths) >= 2
    assert max(lengths) <= LONGEST


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_choice_of_variants_makes_a_message_too_long(template):
    text = GRAMMAR["frame"].replace("{body}", template)
    longest = sum(max(len(e.split()) for e in entries(GRAMMAR, slot)) for slot in slots(text))
    assert longest + len(re.sub(r"\{\w+\}", "", text).split()) <= LONGEST


def test_some_messages_end_without_a_mark_whoever_writes_them():
    bare = [text for text in TEMPLATES if not {"stop", "ask"} & set(slots(text))]
    assert 0.2 <= len(bare) / len(TEMPLATES) <= 0.35


def test_laughs_are_rare():
    assert sum("laugh" in slots(text) for text in TEMPLATES) <= 0.08 * len(TEMPLATES)


@pytest.mark.parametrize("name", GRAMMAR["lists"])
def test_no_entry_begins_another_of_its_list(name):
    words = GRAMMAR["lists"][name]
    assert [(a, b) for a in words for b in words if b.startswith(a + " ")] == []
