"""The written grammar behind the corpus *Messages*: templates, and the slots that fill them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import numpy as np

Expansion = tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A place in a template that is filled anew in every message.

    Parameters
    ----------
    name : str
    kind : str
        ``"style"`` (a habit of the user), ``"personal"`` (the user's own words), ``"common"``
        (everybody alike) or ``"literal"`` (always the same words).
    expansions : tuple of tuple of str
        What can stand there, each a tuple of words; ``()`` says nothing.
    """

    name: str
    kind: str
    expansions: tuple[Expansion, ...]


@dataclass(frozen=True)
class Template:
    """A message with its slots in order, the topic it belongs to given as a number."""

    topic: int
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Grammar:
    """All that can be written, and what distinguishes one writer from another.

    Parameters
    ----------
    topics : tuple of str
    templates : tuple of Template
    style, personal : dict of str to Slot
    personal_counts : dict of str to (int, int)
        The fewest and the most entries of each personal list that one user has.
    dialects : dict of str to dict of str to np.ndarray
        For each dialect and style point, how likely each variant is, ``(variants,)``.
    """

    topics: tuple[str, ...]
    templates: tuple[Template, ...]
    style: dict[str, Slot]
    personal: dict[str, Slot]
    personal_counts: dict[str, tuple[int, int]]
    dialects: dict[str, dict[str, np.ndarray]]

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Every distinct slot of every template."""
        return tuple(dict.fromkeys(s for template in self.templates for s in template.slots))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every word that the grammar can write, in order of first appearance."""
        expansions = (e for slot in self.slots for e in slot.expansions)
        return tuple(dict.fromkeys(word for expansion in expansions for word in expansion))


def default_grammar() -> Grammar:
    """The grammar that comes with the package."""
    source = files(__package__) / "messages_grammar.toml"
    return parse_grammar(source.read_text(encoding="utf-8"))


def parse_grammar(text: str) -> Grammar:
    """A grammar from the text of a TOML file, such as the package's ``messages_grammar.toml``.

    Raises
    ------
    ValueError
        If a template names a slot that is not defined, a slot is defined twice, or a dialect does
        not weigh every variant of every style point.
    """
    source = tomllib.loads(text)
    lists = source.get("lists", {})
    personal = source.get("personal", {})
    words = {name: lists[p["from"]] if "from" in p else p["words"] for name, p in personal.items()}
    kinds = {"style": source["style"], "personal": words, "common": source.get("common", {})}
    slots = _named_slots(kinds)
    frame = source.get("frame", "{body}")
    templates = tuple(
        Template(number, _parse_template(frame.replace("{body}", template), slots))
        for number, topic in enumerate(source["topics"].values())
        for template in topic["templates"]
    )
    style = {name: slots[name] for name in source["style"]}
    return Grammar(
        topics=tuple(source["topics"]),
        templates=templates,
        style=style,
        personal={name: slots[name] for name in personal},
        personal_counts={name: _at_least_and_at_most(p["count"]) for name, p in personal.items()},
        dialects={
            name: _normalized(name, weights, style) for name, weights in source["dialects"].items()
        },
    )


def _named_slots(kinds: dict[str, dict[str, list[str]]]) -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    for kind, group in kinds.items():
        for name, variants in group.items():
            if name in slots:
                raise ValueError(f"slot {name!r} is defined twice: {slots[name].kind} and {kind}")
            slots[name] = Slot(name, kind, tuple(tuple(text.split()) for text in variants))
    return slots


def _parse_template(template: str, slots: dict[str, Slot]) -> tuple[Slot, ...]:
    """Slots of a template in order; neighboring plain words become one literal slot."""
    parts = [part.strip() for part in re.split(r"(\{\w+\})", template)]
    return tuple(_parse_part(part, slots, template) for part in parts if part)


def _parse_part(part: str, slots: dict[str, Slot], template: str) -> Slot:
    if not part.startswith("{"):
        return Slot(part, "literal", (tuple(part.split()),))
    if part[1:-1] not in slots:
        raise ValueError(f"unknown slot {part} in the template {template!r}")
    return slots[part[1:-1]]


def _at_least_and_at_most(count: int | list[int]) -> tuple[int, int]:
    return (count, count) if isinstance(count, int) else (count[0], count[1])


def _normalized(
    dialect: str, weights: dict[str, list[float]], style: dict[str, Slot]
) -> dict[str, np.ndarray]:
    """Weights of a dialect as probabilities, checked against the variants."""
    for name, slot in style.items():
        if len(weights.get(name, ())) != len(slot.expansions) or min(weights[name]) <= 0:
            raise ValueError(
                f"dialect {dialect!r} must give {len(slot.expansions)} positive weights "
                f"for the style point {name!r}, not {weights.get(name)}"
            )
    return {name: np.array(weights[name], dtype=float) / sum(weights[name]) for name in style}
