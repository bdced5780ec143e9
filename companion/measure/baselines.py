"""The rivals that every method must beat: caches of each user's words, an n-gram, mixtures."""

from .caches import BigramCache, UnigramCache
from .mixtures import (
    GrowingWeight,
    choose_growing_weight,
    choose_power,
    choose_strength,
    choose_weight,
    mix,
    rescale,
)
from .ngram import NGram

__all__ = [
    "BigramCache",
    "GrowingWeight",
    "NGram",
    "UnigramCache",
    "choose_growing_weight",
    "choose_power",
    "choose_strength",
    "choose_weight",
    "mix",
    "rescale",
]
