"""Which generators write which of a base model's weights: what a hypernetwork's settings say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .methods import HypernetworkConfig


@dataclass(frozen=True)
class Weights:
    """Names and shapes of a base model's weights, as its framework has them.

    Parameters
    ----------
    inputs, hiddens, gates : tuple of str
        Of the recurrent layers: matrices that read what is below, and their own state; biases.
    output : str
        The matrix behind the last hidden state that is no embedding.
    words : str
        The bias of the words.
    shapes : mapping of str to tuple of int
        Of each.
    """

    inputs: tuple[str, ...]
    hiddens: tuple[str, ...]
    gates: tuple[str, ...]
    output: str
    words: str
    shapes: Mapping[str, tuple[int, ...]]


def generators_of(
    weights: Weights, config: HypernetworkConfig, kinds: ModuleType
) -> dict[str, list[Any]]:
    """Generators of the recurrent layers' weights, ``"recurrent"``, and of those behind them.

    `kinds` is the twin's module of generators.
    """
    ways = dict.fromkeys(weights.inputs, config.input)
    ways |= dict.fromkeys(weights.hiddens, config.hidden)
    gates = weights.gates if "gates" in config.biases else ()
    words = [weights.words] if "words" in config.biases else ()
    return {
        "recurrent": _made(ways, gates, weights.shapes, config, kinds),
        "output": _made({weights.output: config.output}, words, weights.shapes, config, kinds),
    }


def _made(
    ways: Mapping[str, str],
    biases: Iterable[str],
    shapes: Mapping[str, tuple[int, ...]],
    config: HypernetworkConfig,
    kinds: ModuleType,
) -> list[Any]:
    """Generators of these matrices, each in its way, and of these biases."""
    make = {
        "scale": lambda name: kinds.Scale(name, shapes[name], config.size),
        "low rank": lambda name: kinds.LowRank(name, shapes[name], config.size, config.rank),
    }
    made = [make[way](name) for name, way in ways.items() if way in make]
    whole = {name: shapes[name] for name, way in ways.items() if way == "chunks"}
    if whole:
        made.append(kinds.Chunks(whole, config.size, config.chunk))
    return made + [kinds.Bias(name, shapes[name], config.size) for name in biases]
