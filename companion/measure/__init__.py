"""How a model is judged: one table of scores per user, what follows from it, and the rivals."""

from . import statistics
from .bounds import Bounds, bounds, bounds_targets
from .caches import BigramCache, UnigramCache
from .forgetting import of_others
from .identification import calibration_error, first_named, named, reliability
from .mixtures import (
    GrowingWeight,
    Mixture,
    Rescaled,
    choose_growing_weight,
    choose_power,
    choose_strength,
    choose_weight,
    mix,
    rescale,
)
from .ngram import NGram
from .scores import (
    Model,
    Remembered,
    remembered,
    score,
    score_targets,
    summed,
    target_log_probs,
)
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
from .stepping import Network, Stepping
from .tables import by_history, compare, readable

__all__ = [
    "BigramCache",
    "Bounds",
    "GrowingWeight",
    "Interval",
    "Mixture",
    "Model",
    "NGram",
    "Network",
    "Remembered",
    "Rescaled",
    "Stepping",
    "UnigramCache",
    "bounds",
    "bounds_targets",
    "by_history",
    "calibration_error",
    "choose_growing_weight",
    "choose_power",
    "choose_strength",
    "choose_weight",
    "compare",
    "first_named",
    "gain",
    "gain_captured",
    "helped",
    "hurt",
    "interval",
    "keystrokes_saved",
    "loss",
    "mix",
    "named",
    "of_others",
    "per_user_gain",
    "per_user_loss",
    "perplexity",
    "readable",
    "reliability",
    "remembered",
    "rescale",
    "score",
    "score_targets",
    "statistics",
    "summed",
    "target_log_probs",
    "top1",
    "top3",
    "worst_decile",
]
