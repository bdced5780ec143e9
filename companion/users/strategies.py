"""How a base model is fine-tuned for each user: one set of choices for both frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from companion.settings import check_integer, check_number

LAYERS = ("embedding", "recurrent", "output", "bias")


@dataclass(frozen=True)
class Strategy:
    """What is adapted to a user's text, how far, and what holds it back.

    What is learned of a user is a *change* of the base model's weights, which starts at zero. Adam
    minimizes the mean loss of the user's tokens plus ``pull / 2`` times the squared change, summed
    over all numbers and divided by the user's tokens: the less text, the closer to the base model.

    Parameters
    ----------
    layers : tuple of str
        One or more of ``"embedding"`` (a tied one is the output layer's matrix as well),
        ``"recurrent"``, ``"output"`` (the matrices between the last hidden state and the words that
        are no embedding) and ``"bias"`` (of the words). All others are frozen.
    rank : int
        Every matrix changes by the product of two narrow ones of this rank (LoRA [1]_), of which
        one starts at random and is not held; 0 for a change of every number. Vectors always change
        number by number.
    passes : int
        How often a user's text is read.
    batches : int
        Steps of Adam in a pass: each reads this share of the messages. Fewer for a user with fewer
        messages; more where a step would read over 256 of them.
    learning_rate : float
        Of the first step; it falls to zero.
    pull : float
        L2-SP [2]_: how strongly the weights are held at the base model's. With the importance of
        each weight given to ``personalize`` (its Fisher information) it is EWC [3]_, and `pull`
        the number of tokens of other people's text that the base model is worth.
    bias_scale : float
        How many times as far as other weights the bias of the words moves at each step; the pull
        on it is weaker by the square (unless its importance is given). A word's probability follows
        its bias one to one.
    distillation : float
        Weight of the divergence from the base model's predictions on the user's own text [4]_.
    early_stopping : bool
        Keep, of each user, the changes after the pass with the lowest loss on validation text.
    gate : bool
        Drop the changes of a user whose validation text the base model predicts as well.
    seed : int
        Decides the order of the messages and the first numbers of the narrow matrices.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.

    References
    ----------
    .. [1] Hu, E. et al. LoRA: Low-rank adaptation of large language models. ICLR, 2022.
    .. [2] Li, X. et al. Explicit inductive bias for transfer learning with convolutional networks.
       ICML, 2018.
    .. [3] Kirkpatrick, J. et al. Overcoming catastrophic forgetting in neural networks. PNAS, 2017.
    .. [4] Li, Z. and Hoiem, D. Learning without forgetting. ECCV, 2016.
    """

    layers: tuple[str, ...] = LAYERS
    rank: int = 0
    passes: int = 6
    batches: int = 4
    learning_rate: float = 3e-3
    pull: float = 0.0
    bias_scale: float = 1.0
    distillation: float = 0.0
    early_stopping: bool = False
    gate: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.layers, str):
            raise TypeError(f"layers must be a tuple of names, not {self.layers!r}")
        if not self.layers or set(self.layers) - set(LAYERS):
            raise ValueError(f"layers must be some of {LAYERS}, not {self.layers!r}")
        ordered = tuple(layer for layer in LAYERS if layer in self.layers)
        object.__setattr__(self, "layers", ordered)
        for name in ("passes", "batches"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=1))
        for name in ("rank", "seed"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=0))
        for name in ("learning_rate", "bias_scale"):
            check_number(name, getattr(self, name), above=0.0)
        for name in ("pull", "distillation"):
            check_number(name, getattr(self, name), at_least=0.0)
        for name in ("early_stopping", "gate"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")

    @property
    def frozen(self) -> bool:
        """Whether all that reads the text stays as it is: only what comes behind it changes."""
        return not {"embedding", "recurrent"} & {*self.layers}

    @property
    def validates(self) -> bool:
        """Whether it needs validation text of each user."""
        return self.early_stopping or self.gate


ADAPTER = Strategy(
    ("output", "bias"),
    rank=16,
    batches=12,
    learning_rate=0.04,
    pull=60.0,
    bias_scale=10.0,
    distillation=0.1,
)

STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "naive": Strategy(learning_rate=1e-2),  # the rate that trained the base model
        "all weights": Strategy(learning_rate=3e-3),
        "output bias": Strategy(("bias",), learning_rate=0.1),
        "output layer": Strategy(("output", "bias"), learning_rate=1e-2),
        "recurrent layer": Strategy(("recurrent",), learning_rate=1e-2),
        "embeddings": Strategy(("embedding",), learning_rate=3e-3),
        "L2-SP": Strategy(learning_rate=1e-2, pull=30.0),
        "distillation": Strategy(learning_rate=1e-2, distillation=1.0),
        "LoRA": Strategy(rank=4, learning_rate=1e-2),
        "early stopping": Strategy(learning_rate=3e-3, early_stopping=True),
        "adapter": ADAPTER,
    }
)
"""The usual ways, at strengths that suit Messages; early stopping needs validation text. (EWC is
L2-SP with the importance of the weights given to ``personalize``, and a pull in tokens.)"""
