"""A network in PyTorch that reads what a user wrote: pooled, counted, pointed at."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from companion.settings import BaseModelConfig
from companion.users.cutting import Text
from companion.users.memories import Memory
from companion.users.methods import (
    FIRST_COUNT_WEIGHT,
    FIRST_SPREAD,
    FIRST_TRUST,
    UserMemoryConfig,
)

from .base_model import BaseModel

READERS = {"ask", "value", "pool", "film", "guide_bias", "vector_film", "vector_bias"}
STILL = (
    "film",
    "guide_bias",
    "vector_film",
    "vector_bias",
)  # start at zero, to change nothing at first
FARTHEST = 50.0  # squared distance: beyond, numbers become so small that processors slow down
TINY = 1e-30  # below any probability: what has none keeps a finite logarithm


class Read(NamedTuple):
    """Text as the network has read it, a row for each position where a word comes."""

    hidden: Tensor  # (positions, hidden): the state that the word came in
    asked: Tensor  # (positions, key + 1): what it asks of a memory
    keys: Tensor  # (positions, key)
    targets: Tensor  # (positions,): the word
    message: Tensor  # (positions,): in which message
    history: Tensor  # (messages,): in which history
    lengths: Tensor  # (messages,): positions
    bounds: list[int]  # (histories + 1,): where each history begins


class Sums(NamedTuple):
    """One user's memory, as far as a later message only adds to it."""

    keys: Tensor  # (positions, key)
    squares: Tensor  # (positions,): of the keys
    tokens: Tensor  # (positions,)
    values: Tensor  # (size,): the sum of what is pooled, float64
    counts: Tensor  # (word,)


class Opened(NamedTuple):
    """One user's memory and vector, made ready to predict from."""

    sums: Sums
    scale: Tensor  # (hidden,): times the last hidden state
    shift: Tensor  # (hidden,): added to it
    bias: Tensor  # (word,): of the output layer
    vector: Tensor | None  # (vector,)


class MemoryNetwork(BaseModel):
    """The base model's network, which also reads what was remembered of whoever is typing.

    Of every remembered position *i* it knows the word ``y_i`` that came and a key ``k_i = W h_i``
    of the hidden state that it came in.

    - *Pooled*: a small network makes a value of each key and word; a vector made of their mean
      scales and shifts the last hidden state [1]_ and adds a bias to the words, as a user's vector
      does.
    - *Counts*: ``a_w * log(1 + c_w / s_w)`` is added to the logit of each word, where ``c_w`` says
      how often the user wrote it; ``a`` and ``s`` are learned.
    - *Pointer* [2]_ [3]_: ``n_i = exp(-|W h - k_i|^2 - g h)`` says how near the present state is to
      each position, in units of how much the network trusts itself. A word has the probability
      ``(sum of n_i where y_i is the word + p) / (sum of n_i + 1)``, where ``p`` is what the network
      expects: the more and the nearer the matches, the more they count.

    Beside the memory there may be a learned vector of the user, with a prediction of its own from
    the same recurrent layers. The two are mixed in fixed shares, and each has its own loss in
    training: a vector has seen every message that it is trained on, while the memory must do
    without the one that it predicts. What mixed them by their success there would trust the vector
    alone.

    Parameters
    ----------
    vocabulary_size : int
    config : UserMemoryConfig
    base : BaseModelConfig
    seed : int

    References
    ----------
    .. [1] Perez, E. et al. FiLM: Visual reasoning with a general conditioning layer. AAAI, 2018.
    .. [2] Grave, E. et al. Improving neural language models with a continuous cache. ICLR, 2017.
    .. [3] Merity, S. et al. Pointer sentinel mixture models. ICLR, 2017.
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: UserMemoryConfig = UserMemoryConfig(),
        base: BaseModelConfig = BaseModelConfig(),
        seed: int = 0,
    ) -> None:
        self.reading = config
        super().__init__(vocabulary_size, base, seed)

    def read(self, text: Text) -> Read:
        """Every message read once, as the base model reads it."""
        inputs, inside = self._tensor(text.inputs), self._tensor(text.inside)
        hidden = self.recurrent(self.dropout(self.embedding(inputs)))[0][inside]
        arrays = (text.targets, text.message, text.history, text.lengths)
        targets, message, history, lengths = map(self._tensor, arrays)
        bounds = text.bounds.tolist()
        asked = self.asked(hidden)
        keys = asked[:, :-1]
        return Read(hidden, asked, keys, targets, message, history, lengths, bounds)

    def log_likelihood(self, said: Read, known: Read) -> Tensor:
        """Log-probability of each word said, where so much is known, ``(positions,)``.

        Parameters
        ----------
        said : Read
            What is predicted.
        known : Read
            What is remembered, as many histories. Where it is `said` itself, and the settings do
            not say otherwise, each message is left out of what may be read to predict it.
        """
        left_out = said is known and self.reading.leave_out
        film, bias = (
            None if each is None else each[said.message]
            for each in self._recalled(said, known, left_out)
        )
        found = log_prob(self.words(said.hidden, film, bias), said.targets)
        return self._pointed(found, said, known, left_out) if self.points else found

    def guided_likelihood(self, hidden: Tensor, vectors: Tensor, targets: Tensor) -> Tensor:
        """Log-probability of each target by the side that reads vectors, ``(positions,)``."""
        return log_prob(self.guided(hidden, vectors), targets)

    def asked(self, hidden: Tensor) -> Tensor:
        """What states ask of a memory, ``(..., key + 1)``: a key, and their trust in themselves.

        Nothing, where nobody looks at keys: a single zero.
        """
        if self.reading.keeps_keys:
            return self.ask(hidden)
        return hidden.new_zeros(*hidden.shape[:-1], 1)

    def values(self, keys: Tensor, tokens: Tensor) -> Tensor:
        """What is pooled of each remembered position, ``(positions, size)``."""
        return self.value(torch.cat([keys, self.embedding.weight[tokens]], dim=-1))

    def guide_of(self, summed: Tensor, positions: Tensor) -> Tensor:
        """The pooled vector ``(rows, size)`` from sums of values ``(rows, size)``."""
        mean = summed / positions.clamp(min=1)[:, None]
        amount = torch.log1p(positions)[:, None] / 5
        return self.pool(torch.cat([mean, amount], dim=-1))

    def bias_of(self, counts: Tensor) -> Tensor:
        """What is added to the logits, ``(rows, word)``, for so many uses of each word."""
        return self.count_weight * torch.log1p(counts * (-self.count_scale).exp())

    def nearness(self, asked: Tensor, keys: Tensor, squares: Tensor | None = None) -> Tensor:
        """How near states are to remembered positions, ``(states, positions)``, above 0.

        Parameters
        ----------
        asked : Tensor
            What :meth:`asked` gives for the states, ``(states, key + 1)``.
        keys : Tensor
            Of the positions, ``(positions, key)``.
        squares : Tensor, optional
            What :func:`squares_of` gives for `keys`, where it is known already.
        """
        squares = squares_of(keys) if squares is None else squares
        queries, trust = asked[:, :-1], asked[:, -1:]
        exponent = torch.addmm(squares, queries, keys.T, beta=-1, alpha=2)
        exponent -= squares_of(queries)[:, None] + trust
        return exponent.clamp_(min=-FARTHEST).exp_()

    def words(self, hidden: Tensor, film: Tensor | None, bias: Tensor | None) -> Tensor:
        """Logits ``(positions, word)`` of states ``(positions, hidden)``; a row of `film` each."""
        if film is not None:
            scale, shift = film.chunk(2, dim=-1)
            hidden = torch.addcmul(hidden + shift, hidden, scale)
        logits = self._logits(hidden)
        return logits if bias is None else logits + bias

    def guided(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        """Logits ``(positions, word)`` of the side that reads vectors ``(positions, vector)``."""
        return self.words(hidden, self.vector_film(vectors), self.vector_bias(vectors))

    def mixed(self, memory: Tensor, vector: Tensor) -> Tensor:
        """Log-probabilities of both sides, mixed."""
        share = self.reading.share
        return torch.logaddexp(memory + math.log1p(-share), vector + math.log(share))

    @property
    def points(self) -> bool:
        """Whether there is a pointer."""
        return "pointer" in self.reading.ways

    def summed(self, memory: Memory, before: Sums | None = None) -> Sums:
        """Sums over a memory, and over what came before it: they cost what `memory` is long."""
        keys = self._tensor(memory.keys).to(self.output.bias.dtype)
        tokens = self._tensor(memory.tokens.astype(np.int64))
        values = keys.new_zeros(self.reading.size, dtype=torch.float64)
        counts = keys.new_zeros(self.vocabulary_size)
        if "pooled" in self.reading.ways:
            values = self.values(keys, tokens).double().sum(0)
        if "counts" in self.reading.ways:
            counts = torch.bincount(tokens, minlength=self.vocabulary_size).to(keys.dtype)
        found = Sums(keys, squares_of(keys), tokens, values, counts)
        if before is None:
            return found
        rows = zip(before[:3], found[:3], strict=True)
        keys, squares, tokens = (torch.cat(each) for each in rows)
        return Sums(keys, squares, tokens, before.values + values, before.counts + counts)

    def opened(self, sums: Sums, vector: np.ndarray | None = None) -> Opened:
        """What sums say of their user, made ready to predict from; beside them their vector."""
        scale, shift = sums.keys.new_ones(1), sums.keys.new_zeros(1)
        bias: Tensor = self.output.bias
        if "pooled" in self.reading.ways:
            positions = scale.new_tensor([len(sums.tokens)])
            guide = self.guide_of(sums.values.to(scale.dtype)[None], positions)[0]
            scale, shift = self.film(guide).chunk(2)
            scale, bias = 1 + scale, bias + self.guide_bias(guide)
        if "counts" in self.reading.ways:
            bias = bias + self.bias_of(sums.counts)
        own = None
        if vector is not None and self.reading.embedding:
            own = self._tensor(vector).to(scale.dtype)
        return Opened(sums, scale, shift, bias, own)

    def prediction(self, hidden: Tensor, opened: Opened) -> Tensor:
        """Log-probabilities ``(positions, word)`` of states ``(positions, hidden)`` of one user.

        Dropout has no part in it: what a keyboard waits for takes as few operations as it can.
        """
        read = torch.addcmul(opened.shift, hidden, opened.scale)
        if self.projection is not None:
            read = functional.linear(read, self.projection.weight)
        logits = functional.linear(read, self.output.weight, opened.bias)
        sums = opened.sums
        if self.points and len(sums.tokens):
            near = self.nearness(self.ask(hidden), sums.keys, sums.squares)
            found = logits.softmax(-1).index_add_(1, sums.tokens, near).add_(TINY).log_()
            found -= near.sum(1, keepdim=True).log1p_()
        else:
            found = logits.log_softmax(-1)
        if opened.vector is None:
            return found
        return self.mixed(found, self.guided(hidden, opened.vector).log_softmax(-1))

    def attended(self, hidden: Tensor, opened: Opened) -> Tensor:
        """Shares of the memory's prediction, ``(positions, remembered + 1)``; its own is last."""
        near = self.nearness(self.ask(hidden), opened.sums.keys, opened.sums.squares)
        weights = functional.pad(near, (0, 1), value=1.0)
        return weights / weights.sum(1, keepdim=True)

    def _recalled(
        self, said: Read, known: Read, left_out: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Scales and shifts, and the bias of the words, for each message said."""
        ways, histories = self.reading.ways, len(known.bounds) - 1
        film = bias = None

        def of_others(own: Tensor) -> Tensor:
            """Sums over the history of each message said, from those of each message known."""
            whole = own.new_zeros(histories, *own.shape[1:]).index_add(0, known.history, own)
            whole = whole[said.history]
            return whole - own if left_out else whole

        if "pooled" in ways:
            values = self.values(known.keys, known.targets)
            own = values.new_zeros(len(known.lengths), values.shape[1])
            summed = of_others(own.index_add(0, known.message, values))
            guide = self.guide_of(summed, of_others(known.lengths.to(values.dtype)))
            film, bias = self.film(guide), self.guide_bias(guide)
        if "counts" in ways:
            own = self.output.bias.new_zeros(len(known.lengths), self.vocabulary_size)
            ones = own.new_ones(len(known.targets))
            own.index_put_((known.message, known.targets), ones, accumulate=True)
            counted = self.bias_of(of_others(own))
            bias = counted if bias is None else bias + counted
        return film, bias

    def _pointed(self, log_probs: Tensor, said: Read, known: Read, left_out: bool) -> Tensor:
        """The network's own log-probabilities of the targets, mixed with what is pointed at."""
        near, right = [], []
        for history in range(len(said.bounds) - 1):
            here, there = (slice(*each.bounds[history : history + 2]) for each in (said, known))
            nearness = self.nearness(said.asked[here], known.keys[there])
            if left_out:
                nearness = nearness * (said.message[here, None] != known.message[there])
            same = said.targets[here, None] == known.targets[there]
            near.append(nearness.sum(1))
            right.append((nearness * same).sum(1))
        return (torch.cat(right) + log_probs.exp() + TINY).log() - torch.cat(near).log1p()

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.output.bias.device)

    def _build(self, config: BaseModelConfig) -> None:
        """The base model's layers, and those of each way of reading."""
        super()._build(config)
        reading, hidden = self.reading, config.hidden
        if reading.keeps_keys:
            self.ask = nn.Linear(hidden, reading.key + 1)
        if "pooled" in reading.ways:
            size = reading.size
            self.value = nn.Sequential(
                nn.Linear(reading.key + config.embedding, size),
                nn.Tanh(),
                nn.Linear(size, size),
                nn.Tanh(),
            )
            self.pool = nn.Sequential(
                nn.Linear(size + 1, size), nn.Tanh(), nn.Dropout(reading.dropout)
            )
            self.film = nn.Linear(size, 2 * hidden, bias=False)
            self.guide_bias = nn.Linear(size, self.vocabulary_size, bias=False)
        if "counts" in reading.ways:
            self.count_weight = nn.Parameter(torch.empty(self.vocabulary_size))
            self.count_scale = nn.Parameter(torch.empty(self.vocabulary_size))
        if reading.embedding:
            self.vector_film = nn.Linear(reading.embedding, 2 * hidden, bias=False)
            self.vector_bias = nn.Linear(reading.embedding, self.vocabulary_size, bias=False)

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        super()._initialize(generator)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear) and name.split(".")[0] in READERS:
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if self.reading.keeps_keys:
            self.ask.weight *= FIRST_SPREAD
            self.ask.bias[-1] = FIRST_TRUST
        for name in STILL:
            if hasattr(self, name):
                nn.init.zeros_(self.get_parameter(f"{name}.weight"))
        firsts = {"count_weight": FIRST_COUNT_WEIGHT, "count_scale": 0.0}
        for name, first in firsts.items():
            if hasattr(self, name):
                nn.init.constant_(self.get_parameter(name), first)


def squares_of(keys: Tensor) -> Tensor:
    """Squared length of each key, ``(positions,)``."""
    return keys.square().sum(-1)


def log_prob(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target, ``(positions,)``, from logits ``(positions, word)``."""
    return -functional.cross_entropy(logits, targets, reduction="none")


__all__ = ["MemoryNetwork", "Opened", "Read", "Sums"]
