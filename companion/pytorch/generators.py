"""Generators in PyTorch: small networks that write changes of another network's weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from companion.users.stacks import DOWN, SCALE, UP

Shapes = Mapping[str, tuple[int, ...]]
HIDDEN, CHUNK_VECTOR = 64, 16  # of the network that writes chunks; numbers that tell chunks apart


class Bias(nn.Module):
    """Writes a bias: ``b(z) = b + Q z``.

    Parameters
    ----------
    name : str
        Of the bias in the network whose weights are written.
    shape : tuple of int
        Of the bias, ``(out,)``.
    size : int
        Numbers in a user's vector.
    """

    suffix, axis = "", 0  # of the name of what is written; of the weight, as long as that is

    def __init__(self, name: str, shape: tuple[int, ...], size: int) -> None:
        super().__init__()
        self.writes = name + self.suffix
        self.change = nn.Linear(size, shape[self.axis], bias=False)

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        """The change ``(users, out)`` for vectors ``(users, size)``."""
        return {self.writes: self.change(vectors)}

    def initialize(self, generator: torch.Generator) -> None:
        """Begin with no change."""
        nn.init.zeros_(self.change.weight)


class Scale(Bias):
    """Writes a factor for every column of a matrix: ``W(z) = W diag(1 + G z)``.

    What is written is added to 1, ``(users, in)``.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Of the matrix, ``(out, in)``.
    size : int
    """

    suffix, axis = SCALE, 1


class LowRank(nn.Module):
    """Writes two narrow matrices, whose product is added: ``W(z) = W + (D(z) U(z))ᵀ`` [1]_.

    Parameters
    ----------
    name : str
    shape : tuple of int
        Of the matrix, ``(out, in)``.
    size : int
    rank : int
        Columns of D, rows of U.

    References
    ----------
    .. [1] Jaech, A. and Ostendorf, M. Low-rank RNN adaptation for context-aware language modeling.
       TACL, 2018.
    """

    def __init__(self, name: str, shape: tuple[int, ...], size: int, rank: int) -> None:
        super().__init__()
        self.name, self.rank = name, rank
        outputs, inputs = shape
        self.down = nn.Linear(size, inputs * rank)
        self.up = nn.Linear(size, rank * outputs, bias=False)

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        """``(users, in, rank)`` and ``(users, rank, out)`` for vectors ``(users, size)``."""
        down = self.down(vectors).unflatten(1, (-1, self.rank))
        return {
            self.name + DOWN: down,
            self.name + UP: self.up(vectors).unflatten(1, (self.rank, -1)),
        }

    def initialize(self, generator: torch.Generator) -> None:
        """Begin with no change: U is zero, so D must not be."""
        inputs = self.down.out_features // self.rank
        nn.init.normal_(self.down.bias, std=inputs**-0.5, generator=generator)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.up.weight)


class Chunks(nn.Module):
    """Writes whole matrices, a chunk of their numbers at a time.

    One small network writes every chunk. It reads the user's vector, and a learned vector that
    tells it which chunk is asked for [1]_.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        The matrices, by name, each ``(out, in)``.
    size : int
    chunk : int
        Numbers in a chunk.

    References
    ----------
    .. [1] von Oswald, J. et al. Continual learning with hypernetworks. ICLR, 2020.
    """

    def __init__(self, shapes: Shapes, size: int, chunk: int) -> None:
        super().__init__()
        self.shapes = dict(shapes)
        count = math.ceil(sum(map(math.prod, shapes.values())) / chunk)
        self.chunks = nn.Parameter(torch.empty(count, CHUNK_VECTOR))
        self.of_user = nn.Linear(size, HIDDEN)
        self.of_chunk = nn.Linear(CHUNK_VECTOR, HIDDEN, bias=False)
        self.write = nn.Linear(HIDDEN, chunk, bias=False)

    def forward(self, vectors: Tensor) -> dict[str, Tensor]:
        """Changes of all matrices, ``(users, out, in)`` each, for vectors ``(users, size)``."""
        asked = self.of_user(vectors)[:, None] + self.of_chunk(self.chunks)
        flat = self.write(functional.relu(asked)).flatten(1)  # (users, chunks * chunk)
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = flat[:, : sum(sizes)].split(sizes, dim=1)
        return {
            name: part.unflatten(1, shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def initialize(self, generator: torch.Generator) -> None:
        """Begin with no change: the last layer is zero."""
        nn.init.normal_(self.chunks, generator=generator)
        for layer in (self.of_user, self.of_chunk):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(self.of_user.bias)
        nn.init.zeros_(self.write.weight)


__all__ = ["Bias", "Chunks", "LowRank", "Scale"]
