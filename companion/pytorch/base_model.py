"""The base model in PyTorch: one recurrent network for everybody."""

from __future__ import annotations

import sys
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from companion.checks import check_ids, check_users
from companion.corpora import Split
from companion.history import History
from companion.keeping import files
from companion.settings import EMBEDDING_RANGE, BaseModelConfig, TrainingConfig
from companion.users.lifecycle import Life
from companion.users.models import LanguageModel

from . import training as training_loop
from .training import evaluating


class BaseModel(LanguageModel, nn.Module):
    """Next-word prediction that knows no user: embedding, LSTM or GRU, output layer.

    What its methods take and give stands in :class:`companion.users.models.LanguageModel`.

    Parameters
    ----------
    vocabulary_size : int
        Words the model reads and predicts, special tokens included.
    config : BaseModelConfig
    seed : int
        Decides the initial weights; PyTorch's own random state is left alone.

    Notes
    -----
    PyTorch gives an LSTM two bias vectors that are only ever added, so that Adam moves their sum
    twice as fast as Keras moves its one. Here the second stays at zero and out of training. A GRU
    needs both, and Keras (``reset_after=True``) has both.
    """

    def __init__(
        self, vocabulary_size: int, config: BaseModelConfig = BaseModelConfig(), seed: int = 0
    ) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.config = config
        with torch.random.fork_rng(devices=[]):  # layers draw weights, to be drawn again below
            self._build(config)
        self._initialize(torch.Generator().manual_seed(seed))

    def forward(self, tokens: Tensor, users: Tensor | None = None) -> Tensor:
        """Logits of the next token at every step; no softmax inside.

        Parameters
        ----------
        tokens : Tensor
            Token ids, ``(batch, time)`` int32 or int64.
        users : Tensor, optional
            Who wrote each message, ``(batch,)``. The base model does not look at it.

        Returns
        -------
        Tensor
            ``(batch, time, word)``
        """
        embedded = self.dropout(self.embedding(tokens))  # (batch, time, embedding)
        hidden, _ = self.recurrent(embedded)  # (batch, time, hidden)
        return self._logits(hidden)  # (batch, time, word)

    def log_probs(self, tokens: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Natural-log probabilities of the next token, ``(message, step, word)``."""
        with evaluating(self):
            logits = self(self._tokens(tokens, ndim=2), self._users(users, len(tokens)))
            return logits.log_softmax(-1).cpu().numpy()

    def begin(self, batch: int, users: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """The state before any token: zeros, one ``(layer, batch, hidden)`` each of its parts."""
        zeros = self.output.bias.new_zeros(self.config.layers, batch, self.config.hidden)
        return (zeros, zeros) if self.config.cell == "lstm" else (zeros,)

    def step(
        self, tokens: np.ndarray, state: tuple[Tensor, ...], users: np.ndarray | None = None
    ) -> tuple[np.ndarray, tuple[Tensor, ...]]:
        """Read one token per message, going on from `state`, which is not changed."""
        with evaluating(self.dropout):  # no other layer that a step runs has a mode
            embedded = self.embedding(self._tokens(tokens, ndim=1))  # (batch, embedding)
            self._users(users, len(tokens))
            state = self._advance(embedded, state)
            logits = self._logits(state[0][-1])  # (batch, word)
            return logits.log_softmax(-1).cpu().numpy(), state

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits from hidden states, ``(..., hidden)`` to ``(..., word)``."""
        hidden = self.dropout(hidden)
        if self.projection is not None:
            hidden = self.projection(hidden)  # (..., embedding)
        return self.output(hidden)

    def _advance(self, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state after one more input ``(batch, embedding)``.

        A cell at a time: ``nn.LSTM`` arranges its weights anew at every call, which costs more
        than one step does.
        """
        layers: list[tuple[Tensor, ...]] = []
        for weights, *before in zip(self.recurrent.all_weights, *state, strict=True):
            if self.config.cell == "lstm":
                layers.append(torch.lstm_cell(inputs, before, *weights))
            else:
                layers.append((torch.gru_cell(inputs, *before, *weights),))
            inputs = layers[-1][0]  # (batch, hidden)
        if len(layers) == 1:  # nothing to stack, which would take a twentieth of the step
            return tuple(part[None] for part in layers[0])
        return tuple(torch.stack(part) for part in zip(*layers, strict=True))

    def _build(self, config: BaseModelConfig) -> None:
        """The layers."""
        self.embedding = nn.Embedding(self.vocabulary_size, config.embedding)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = recurrent_layers(config, config.embedding)
        reads = config.embedding if config.tied else config.hidden
        projected = reads != config.hidden
        self.projection = nn.Linear(config.hidden, reads, bias=False) if projected else None
        self.output = nn.Linear(reads, self.vocabulary_size)
        if config.tied:
            self.output.weight = self.embedding.weight

    def _tokens(self, tokens: np.ndarray, ndim: int) -> Tensor:
        """Checked token ids on this model's device."""
        ids = check_ids("token", tokens, self.vocabulary_size, ndim)
        copy = torch.from_numpy(np.array(ids))  # quicker than torch.tensor, one token at a time
        return copy.to(self.output.bias.device)

    def _users(self, users: np.ndarray | None, messages: int) -> Tensor | None:
        """Checked user ids on this model's device."""
        if users is None:
            return None
        copy = torch.from_numpy(np.array(check_users(users, messages)))  # without negative strides
        return copy.to(self.output.bias.device)

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        """The same recipe as in the Keras twin; see the defaults of neither framework."""
        nn.init.uniform_(
            self.embedding.weight, -EMBEDDING_RANGE, EMBEDDING_RANGE, generator=generator
        )
        for name, weight in self.recurrent.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(weight, generator=generator)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(weight, generator=generator)
            else:
                nn.init.zeros_(weight)
            if self.config.cell == "lstm" and name.startswith("bias_ih"):
                weight[self.config.hidden : 2 * self.config.hidden] = 1.0  # the forget gate
        for layer in (self.projection, None if self.config.tied else self.output):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(self.output.bias)


def trained(
    data: Split,
    config: BaseModelConfig = BaseModelConfig(),
    training: TrainingConfig = TrainingConfig(),
    progress: bool | None = None,
) -> tuple[BaseModel, History]:
    """A base model trained on `data`, from the cache folder where it was trained before.

    Parameters
    ----------
    data : Split
    config : BaseModelConfig
    training : TrainingConfig
        Its seed decides the initial weights too.
    progress : bool, optional
        Whether to show a bar; if not given, in a terminal and a notebook.

    Returns
    -------
    model : BaseModel
        In evaluation mode.
    history : History
        Of the training, also where that was long ago. An interrupted training is not kept.
    """

    def make() -> tuple[BaseModel, History]:
        model = BaseModel(len(data.vocabulary), config, seed=training.seed)
        return model, training_loop.train(model, data, training, progress)

    name = f"base model pytorch {config.cell}"
    return LIFE.trained(data, make, name=name, config=config, training=training)


def fingerprint(model: BaseModel) -> str:
    """Sixteen hexadecimal digits that change with any weight."""
    return files.fingerprint(weights_of(model))


def recurrent_layers(config: BaseModelConfig, inputs: int) -> nn.LSTM | nn.GRU:
    """The recurrent layers over inputs of this size, an LSTM with one bias vector only."""
    layer = nn.LSTM if config.cell == "lstm" else nn.GRU
    between = config.dropout if config.layers > 1 else 0.0
    recurrent = layer(inputs, config.hidden, config.layers, batch_first=True, dropout=between)
    if config.cell == "lstm":
        for name, weight in recurrent.named_parameters():
            weight.requires_grad_(not name.startswith("bias_hh"))
    return recurrent


def rows_among(known: Tensor, users: Tensor | None, messages: int) -> Tensor:
    """Rows of a table of the users `known`, ``(messages,)``; the row after the last is anyone's.

    Whoever is not among them, and everybody where no users are given, is anyone.
    """
    if users is None:
        return known.new_full((messages,), len(known))
    known, users = known.long(), users.long()
    rows = torch.searchsorted(known, users).clamp(max=len(known) - 1)
    return torch.where(known[rows] == users, rows, len(known))


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    """Every weight by its name; a shared one once."""
    return {name: w.detach().cpu().numpy() for name, w in model.named_parameters()}


def assign(model: nn.Module, arrays: dict[str, np.ndarray], path: str | PathLike[str]) -> None:
    """Give a model the weights that were read from a file."""
    weights = dict(model.named_parameters())
    if {n: tuple(w.shape) for n, w in weights.items()} != {n: a.shape for n, a in arrays.items()}:
        raise files.CorruptedFileError(f"{path} holds other weights than its configuration says")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(torch.from_numpy(arrays[name]))


def _settings(model: BaseModel) -> dict[str, Any]:
    """What decides a model besides its weights."""
    return {"vocabulary_size": model.vocabulary_size, "config": asdict(model.config)}


def _make(arrays: dict[str, np.ndarray], settings: dict[str, Any], path: Path) -> BaseModel:
    """The model with these weights, that were read from a file."""
    model = BaseModel(settings["vocabulary_size"], BaseModelConfig(**settings["config"]))
    assign(model, arrays, path)
    return model.eval()


LIFE = Life(
    kind="base model in PyTorch",
    name="base model pytorch",
    framework=(torch,),
    code=(sys.modules[__name__], training_loop),
    arrays=weights_of,
    settings=_settings,
    make=_make,
)
save, load = LIFE.save, LIFE.load


__all__ = ["BaseModel", "fingerprint", "load", "save", "trained"]
