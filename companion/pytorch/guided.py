"""A network in PyTorch with two heads: one predicts the next word, one who is typing."""

from __future__ import annotations

from torch import Tensor, nn

from companion.corpora import BEGIN, PADDING
from companion.users.methods import UserHeadsConfig

from .conditioned import ConditionedNetwork


class GuidedNetwork(nn.Module):
    """A network and its user head, whoever the users are.

    Every word typed is evidence for some users and against others; the belief over users is the sum
    of it. The users' vectors ``(user, size)``, weighed by the belief, guide the next word.

    Parameters
    ----------
    network : companion.pytorch.conditioned.ConditionedNetwork
        Reads the words, and predicts the next one with a user's vector.
    config : UserHeadsConfig
    """

    def __init__(self, network: ConditionedNetwork, config: UserHeadsConfig) -> None:
        super().__init__()
        self.network, self.size = network, config.size
        self.vocabulary_size = network.vocabulary_size
        self.evidence_of = nn.ModuleDict()
        if "word" in config.evidence:
            self.evidence_of["word"] = nn.Embedding(network.vocabulary_size, config.size)
        if "state" in config.evidence:
            self.evidence_of["state"] = nn.Linear(network.config.hidden, config.size)
        for head in self.evidence_of.parameters():
            nn.init.zeros_(head)
        self.dropout = nn.Dropout(config.dropout)

    def evidence(
        self, tokens: Tensor, hidden: Tensor, vectors: Tensor, temperature: float
    ) -> Tensor:
        """Summed over the words so far, ``(batch, time, user)``; the begin of a message is none."""
        asked = hidden.new_zeros(*tokens.shape, self.size)
        if "word" in self.evidence_of:
            asked = self.evidence_of["word"](tokens)
        if "state" in self.evidence_of:
            asked = asked + self.evidence_of["state"](self.dropout(hidden))
        says = ((tokens != PADDING) & (tokens != BEGIN))[..., None]  # (batch, time, 1)
        return (asked * says).cumsum(1) @ vectors.T / temperature

    def words(self, hidden: Tensor, belief: Tensor, vectors: Tensor) -> Tensor:
        """Logits ``(..., word)`` from states ``(..., hidden)`` and beliefs ``(..., user)``."""
        return self.network.words(hidden, self.dropout(belief @ vectors))

    def _step(
        self, tokens: Tensor, state: tuple[Tensor, ...], vectors: Tensor, temperature: float
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Log-probabilities ``(batch, word)`` after one more token ``(batch,)``, and the state."""
        *before, belief = state
        after = self.network._advance(self.network.embedding(tokens), tuple(before))
        hidden = after[0][-1]  # (batch, hidden)
        evidence = self.evidence(tokens[:, None], hidden[:, None], vectors, temperature)
        belief = belief + evidence[:, 0]  # (batch, user)
        logits = self.words(hidden, belief.softmax(-1), vectors)
        return logits.log_softmax(-1), (*after, belief.log_softmax(-1))


__all__ = ["GuidedNetwork"]
