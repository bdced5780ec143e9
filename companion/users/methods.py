"""What decides each method of personalization: the same settings for both frameworks."""

from __future__ import annotations

from dataclasses import dataclass

from companion.settings import BaseModelConfig, TrainingConfig, check_integer, check_number

STORED = "float16"  # what the numbers of a user's vector are stored as: two bytes each
VECTOR_SPREAD = 0.1  # standard deviation of the first, random vectors
PLACEMENTS = ("input", "state", "film", "output")
EVIDENCE = ("word", "state")
WAYS = ("none", "scale", "low rank", "chunks")
BIASES = ("words", "gates")
READING = ("pooled", "counts", "pointer")
FIRST_COUNT_WEIGHT, FIRST_COUNT_STRENGTH = 0.3, 100.0  # what counts weigh before training
VECTOR_BATCH = 64  # messages in a step that trains the vectors beside a memory
FIRST_SPREAD, FIRST_TRUST = 2.0, 2.0  # so that the pointer drowns nothing before it has learned


@dataclass(frozen=True)
class UserEmbeddingConfig:
    """How large a user's vector is, and where the network reads it.

    Parameters
    ----------
    size : int
        Numbers in a user's vector.
    placements : tuple of str
        One or more of ``"input"`` (concatenated to every input embedding), ``"state"`` (the first
        recurrent state), ``"film"`` (scale and shift of the last hidden state) and ``"output"`` (a
        bias for every word, of a rank of at most `size`).
    user_dropout : float
        Share of the training messages that are read with the vector of *anyone* instead of their
        user's, so that this one learns to serve whom the network does not know.
    dropout : float
        Share of the vector's numbers set to zero in training: users with little text need it.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    size: int = 128
    placements: tuple[str, ...] = ("film", "output")
    user_dropout: float = 0.15
    dropout: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_integer("size", self.size, at_least=1))
        ordered = _some("placements", self.placements, PLACEMENTS)
        object.__setattr__(self, "placements", ordered)
        for name in ("user_dropout", "dropout"):
            check_number(name, getattr(self, name), at_least=0.0, below=1.0)


@dataclass(frozen=True)
class FittingConfig:
    """How the vectors of new users are fitted to their messages: Adam on all of them at once.

    What is minimized is the summed loss of a user's tokens plus the distance of the vector from the
    typical user's, each number in units of its spread over the known users: the less text, the
    closer the vector stays.

    Parameters
    ----------
    steps : int
        Steps of Adam, each over all messages.
    learning_rate : float
        Of the first step, in units of the spread; it falls to zero.
    pull : float
        Weight of the distance: 1 takes the known users for a fair sample of all.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    steps: int = 40
    learning_rate: float = 0.3
    pull: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", check_integer("steps", self.steps, at_least=1))
        check_number("learning_rate", self.learning_rate, above=0.0)
        check_number("pull", self.pull, at_least=0.0)


@dataclass(frozen=True)
class UserHeadsConfig:
    """How large a user's vector is, what the user head reads, and how the two heads train.

    Parameters
    ----------
    size : int
        Numbers in a user's vector, which guides the word head and answers the user head.
    placements : tuple of str
        Where the vector guides the network: ``"film"``, ``"output"`` or both; as in
        :class:`UserEmbeddingConfig`, but not before the recurrent layers have read a word.
    evidence : tuple of str
        What the user head reads: ``"word"`` (the word just typed), ``"state"`` (the hidden state
        after it) or both.
    weight : float
        Of the loss of the user head, beside that of the word head.
    untold : float
        Share of the training batches that are read with the network's own belief instead of their
        users' vectors.
    dropout : float
        Share of the guiding vector's numbers, and of the state that the user head reads, set to
        zero in training.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    size: int = 128
    placements: tuple[str, ...] = ("film", "output")
    evidence: tuple[str, ...] = ("word",)
    weight: float = 0.1
    untold: float = 0.15
    dropout: float = 0.2

    def __post_init__(self) -> None:
        reading = UserEmbeddingConfig(self.size, self.placements, 0.0, self.dropout)  # checks them
        object.__setattr__(self, "size", reading.size)
        object.__setattr__(self, "placements", reading.placements)
        early = {"input", "state"} & {*self.placements}
        if early:
            raise ValueError(
                f"placements must be among ('film', 'output'), not {min(early)!r}: a belief that "
                "enters the recurrent layers would be evidence for itself"
            )
        object.__setattr__(self, "evidence", _some("evidence", self.evidence, EVIDENCE))
        check_number("weight", self.weight, at_least=0.0)
        check_number("untold", self.untold, at_least=0.0)
        if self.untold > 1.0:
            raise ValueError(f"untold must be at most 1, not {self.untold!r}")

    @property
    def reading(self) -> UserEmbeddingConfig:
        """How the network reads the guiding vector."""
        return UserEmbeddingConfig(self.size, self.placements, 0.0, self.dropout)


@dataclass(frozen=True)
class HypernetworkConfig:
    """Which weights are written for each user, how, and from how large a vector.

    Parameters
    ----------
    size : int
        Numbers in a user's vector.
    input, hidden, output : {"none", "scale", "low rank", "chunks"}
        How the matrices are written that read the words, the recurrent state, and the last hidden
        state: not at all; each column times a factor; plus the product of two narrow matrices;
        plus a whole matrix, a chunk at a time.
    biases : tuple of str
        Which biases are written: ``"words"``, ``"gates"`` (of the recurrent layers), both or none.
    rank : int
        Columns of a narrow matrix.
    chunk : int
        Numbers in a chunk.
    user_dropout : float
        Share of the training messages that are read with the vector of *anyone*.
    dropout : float
        Share of the vector's numbers set to zero in training.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    size: int = 128
    input: str = "none"
    hidden: str = "none"
    output: str = "scale"
    biases: tuple[str, ...] = ("words", "gates")
    rank: int = 8
    chunk: int = 1024
    user_dropout: float = 0.15
    dropout: float = 0.2

    def __post_init__(self) -> None:
        for name in ("size", "rank", "chunk"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=1))
        for name in ("input", "hidden", "output"):
            if getattr(self, name) not in WAYS:
                raise ValueError(f"{name} must be one of {WAYS}, not {getattr(self, name)!r}")
        biases = _some("biases", self.biases, BIASES) if self.biases else ()
        object.__setattr__(self, "biases", biases)
        if {self.input, self.hidden, self.output} == {"none"} and not biases:
            raise ValueError("nothing is written: name a way for a matrix, or some biases")
        for name in ("user_dropout", "dropout"):
            check_number(name, getattr(self, name), at_least=0.0, below=1.0)

    @property
    def placements(self) -> tuple[str, ...]:
        """Where the network reads the vector itself: nowhere."""
        return ()

    def check_writable(self, base: BaseModelConfig) -> None:
        """Refuse to write an output layer that is the embedding: the words read would change, too.

        Raises
        ------
        ValueError
            If the base model has no matrix of its own behind the last hidden state.
        """
        if self.output != "none" and base.tied and base.embedding == base.hidden:
            raise ValueError(
                f"output must be 'none', not {self.output!r}, where the output layer is the "
                "embedding: a tied base model whose embedding is as large as hidden"
            )


@dataclass(frozen=True)
class UserMemoryConfig:
    """How the network reads what a user wrote, and how it learns to.

    Parameters
    ----------
    ways : tuple of str
        One or more of ``"pooled"`` (a vector made of all of it), ``"counts"`` (of the user's words)
        and ``"pointer"`` (attention over all remembered positions).
    key : int
        Numbers kept of the hidden state at each remembered position, for the pointer to compare
        and the pooled vector to be made of.
    size : int
        Numbers in the pooled vector.
    embedding : int
        Numbers in a learned vector of each user beside the memory; 0 for none.
    share : float
        Of the vector's side in the prediction for a user who has one.
    cut : float
        Share of the histories that are cut in training into pieces of a random size, each read as
        if it were all that its user wrote, so that short histories are practised as well.
    shortest, longest : int
        Messages in such a piece. No piece is longer than `longest`, cut or not.
    leave_out : bool
        Whether a message is left out of what is read to predict it. Without, the network learns to
        copy the message that it is predicting.
    last : int or None
        Positions kept of a user, at most: those of the latest messages. None keeps all.
    dropout : float
        Share of the pooled vector's numbers, and of the learned one's, set to zero in training.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or lies outside its range; the message says what is allowed.
    """

    ways: tuple[str, ...] = READING
    key: int = 16
    size: int = 128
    embedding: int = 0
    share: float = 0.5
    cut: float = 0.5
    shortest: int = 5
    longest: int = 160
    leave_out: bool = True
    last: int | None = None
    dropout: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "ways", _some("ways", self.ways, READING))
        for name in ("key", "size", "shortest", "longest"):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=1))
        embedding = check_integer("embedding", self.embedding, at_least=0)
        object.__setattr__(self, "embedding", embedding)
        if self.last is not None:
            object.__setattr__(self, "last", check_integer("last", self.last, at_least=1))
        if not isinstance(self.leave_out, bool):
            raise TypeError(f"leave_out must be True or False, not {self.leave_out!r}")
        check_number("share", self.share, above=0.0, below=1.0)
        check_number("dropout", self.dropout, at_least=0.0, below=1.0)
        check_number("cut", self.cut, at_least=0.0)
        if self.cut > 1.0:
            raise ValueError(f"cut must be at most 1, not {self.cut!r}")

    @property
    def keeps_keys(self) -> bool:
        """Whether anything is kept of a position besides its word."""
        return not {"pooled", "pointer"}.isdisjoint(self.ways)


USER_EMBEDDING_TRAINING = TrainingConfig(epochs=5, batch_size=64, learning_rate=1.2e-2)
HYPERNETWORK_TRAINING = TrainingConfig(epochs=5, learning_rate=7e-3)
USER_HEADS_TRAINING = TrainingConfig(epochs=5, batch_size=64, learning_rate=1e-2)
USER_MEMORY_TRAINING = TrainingConfig(epochs=6, batch_size=512)


def _some(name: str, chosen: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """One or more of the names allowed, in their order; refused if they are not."""
    if isinstance(chosen, str):
        raise TypeError(f"{name} must be a tuple of names, not {chosen!r}")
    if set(chosen) - set(allowed) or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"{name} must be some of {allowed}, each once, not {chosen!r}")
    return tuple(one for one in allowed if one in chosen)


__all__ = [
    "BIASES",
    "EVIDENCE",
    "FIRST_COUNT_STRENGTH",
    "FIRST_COUNT_WEIGHT",
    "FIRST_SPREAD",
    "FIRST_TRUST",
    "HYPERNETWORK_TRAINING",
    "PLACEMENTS",
    "READING",
    "STORED",
    "USER_EMBEDDING_TRAINING",
    "USER_HEADS_TRAINING",
    "USER_MEMORY_TRAINING",
    "VECTOR_BATCH",
    "VECTOR_SPREAD",
    "WAYS",
    "FittingConfig",
    "HypernetworkConfig",
    "UserEmbeddingConfig",
    "UserHeadsConfig",
    "UserMemoryConfig",
]
