"""A network in PyTorch that reads a vector with every message, whoever made the vector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from companion.settings import BaseModelConfig
from companion.users.methods import HypernetworkConfig, UserEmbeddingConfig

from .base_model import BaseModel, recurrent_layers


class ConditionedNetwork(BaseModel):
    """The base model's network, which also reads a vector with every message.

    Where `config` says so, the vector stands beside every input embedding, makes the first
    recurrent state, scales and shifts the last hidden state [1]_, or adds a bias to the words [2]_.
    All weights that read it start at zero: at first the vector changes nothing.

    Parameters
    ----------
    vocabulary_size : int
    config : UserEmbeddingConfig or HypernetworkConfig
        The size of the vector, and its placements.
    base : BaseModelConfig
    seed : int

    References
    ----------
    .. [1] Perez, E. et al. FiLM: Visual reasoning with a general conditioning layer. AAAI, 2018.
    .. [2] Jaech, A. and Ostendorf, M. Low-rank RNN adaptation for context-aware language modeling.
       TACL, 2018.
    """

    def __init__(
        self,
        vocabulary_size: int,
        config: UserEmbeddingConfig | HypernetworkConfig = UserEmbeddingConfig(),
        base: BaseModelConfig = BaseModelConfig(),
        seed: int = 0,
    ) -> None:
        self.reading = config
        super().__init__(vocabulary_size, base, seed)

    # It reads vectors where the base model is told users: a network inside, never a model itself.
    def forward(self, tokens: Tensor, vectors: Tensor) -> Tensor:  # type: ignore[override]
        """Logits ``(batch, time, word)`` of tokens ``(batch, time)``, vectors ``(batch, size)``."""
        return self.words(self.hidden(tokens, vectors), vectors[:, None])

    def hidden(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        """Hidden states of the last recurrent layer, ``(batch, time, hidden)``."""
        inputs = self._beside(self.dropout(self.embedding(tokens)), vectors)
        return self.recurrent(inputs, self._first_state(vectors))[0]

    def words(self, hidden: Tensor, vectors: Tensor) -> Tensor:
        """Logits ``(..., word)`` from states ``(..., hidden)`` and vectors ``(..., size)``."""
        if "film" in self.paths:
            scale, shift = self.paths["film"](vectors).chunk(2, dim=-1)
            hidden = hidden * (1 + scale) + shift
        logits = self._logits(hidden)
        return logits + self.paths["output"](vectors) if "output" in self.paths else logits

    def begin_with(self, vectors: Tensor) -> tuple[Any, ...]:
        """The state before any token, the vectors ``(batch, size)`` being its last part."""
        state = self._first_state(vectors)
        if state is None:
            return *self.begin(len(vectors)), vectors
        return *(state if isinstance(state, tuple) else (state,)), vectors

    def advance(self, tokens: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple]:
        """Logits ``(batch, word)`` after one more token ``(batch,)``, and the state then."""
        *before, vectors = state
        after = self._advance(self._beside(self.embedding(tokens), vectors), tuple(before))
        return self.words(after[0][-1], vectors), (*after, vectors)

    @property
    def reads_early(self) -> bool:
        """Whether a vector enters the recurrent layers."""
        return not {"input", "state"}.isdisjoint(self.reading.placements)

    def _beside(self, embedded: Tensor, vectors: Tensor) -> Tensor:
        """The vector behind each input embedding, the same at every step."""
        if "input" not in self.reading.placements:
            return embedded
        if embedded.ndim == 3:
            vectors = vectors[:, None].expand(-1, embedded.shape[1], -1)  # (batch, time, size)
        return torch.cat([embedded, vectors], dim=-1)  # (batch, time, embedding + size)

    def _first_state(self, vectors: Tensor) -> Tensor | tuple[Tensor, ...] | None:
        """Each part ``(layer, batch, hidden)``; None, which is zeros, where no vector makes it."""
        if "state" not in self.paths:
            return None
        parts = self.paths["state"](vectors).unflatten(
            -1, (-1, self.config.layers, self.config.hidden)
        )
        parts = parts.permute(1, 2, 0, 3).contiguous().unbind()  # (layer, batch, hidden) each
        return parts if self.config.cell == "lstm" else parts[0]

    def _build(self, config: BaseModelConfig) -> None:
        """The base model's layers, a wider input where the vector stands there, and its paths."""
        super()._build(config)
        size, parts = self.reading.size, 2 if config.cell == "lstm" else 1
        if "input" in self.reading.placements:
            self.recurrent = recurrent_layers(config, config.embedding + size)
        widths = {
            "state": parts * config.layers * config.hidden,
            "film": 2 * config.hidden,
            "output": self.vocabulary_size,
        }
        self.paths = nn.ModuleDict(
            {
                place: nn.Linear(size, width, bias=False)
                for place, width in widths.items()
                if place in self.reading.placements
            }
        )

    @torch.no_grad()
    def _initialize(self, generator: torch.Generator) -> None:
        super()._initialize(generator)
        if "input" in self.reading.placements:
            reads_input = self.recurrent.get_parameter("weight_ih_l0")
            reads_input[:, self.config.embedding :] = 0.0
        for weight in self.paths.parameters():
            nn.init.zeros_(weight)


__all__ = ["ConditionedNetwork"]
