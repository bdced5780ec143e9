"""How a model is judged: one table of scores per user, what follows from it, and the rivals."""

from . import baselines, statistics
from .baselines import (
    BigramCache,
    GrowingWeight,
    NGram,
    UnigramCache,
    choose_growing_weight,
    choose_weight,
    mix,
)
from .scores import Model, score, score_targets, summed, target_log_probs
from .statistics import (
    Interval,
    gain,
    gain_captured,
    helped,
    hurt,
    interval,
    keystrokes_saved,
    loss,
    per_user_gain,
    per_user_loss,
    perplexity,
    top1,
    top3,
    worst_decile,
)
from .tables import by_history, compare, readable

__all__ = [
    "BigramCache",
    "GrowingWeight",
    "Interval",
    "Model",
    "NGram",
    "UnigramCache",
    "baselines",
    "by_history",
    "choose_growing_weight",
    "choose_weight",
    "compare",
    "gain",
    "gain_captured",
    "helped",
    "hurt",
    "interval",
    "keystrokes_saved",
    "loss",
    "mix",
    "per_user_gain",
    "per_user_loss",
    "perplexity",
    "readable",
    "score",
    "score_targets",
    "statistics",
    "summed",
    "target_log_probs",
    "top1",
    "top3",
    "worst_decile",
]
