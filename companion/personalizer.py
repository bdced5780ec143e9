"""A personal keyboard from your own logs: it learns from each user as they type, and forgets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from typing import Any

from companion.corpora import Corpus, logs
from companion.corpora.tokens import Tokenizer
from companion.keyboard import Keyboard
from companion.measure.stepping import as_stepping
from companion.personal import choosing, reporting, saving
from companion.personal.kept import Kept
from companion.personal.networks import chosen_framework
from companion.personal.settings import RECOMMENDED, Framework, Method, PersonalizerSettings
from companion.personal.study import Study
from companion.personal.suggesting import best_words, unfinished
from companion.personal.texts import cut, prepared
from companion.settings import check_integer

SHOWN = 3
KEYBOARDS = 64  # users whose messages, half typed, are remembered at once


class NotFittedError(ValueError, AttributeError):
    """A personalizer that was asked before it was fitted or loaded."""


class Personalizer:
    """One keyboard for many users: trained on their logs, served, taught, and told to forget.

    Parameters
    ----------
    method : str
        What is personal: ``"recommended"`` decides by how many users and how much text there is,
        and checks itself on validation text; or one of ``companion.personal.METHODS``, such as
        ``"cache"`` or ``"user_embedding+cache"``.
    framework : {"pytorch", "keras"}, optional
        PyTorch where it is installed, if not given.
    settings : PersonalizerSettings
    progress : bool, optional
        Whether to show bars; if not given, in a terminal and a notebook.

    Examples
    --------
    >>> keyboard = Personalizer().fit("log.csv", user="author", text="body")  # doctest: +SKIP
    >>> keyboard.suggest("ana", "lunch with yu")  # doctest: +SKIP
    ['yuki', 'your', 'you']

    Notes
    -----
    What is kept of a user is their text, as numbers, what was counted of it, a state of the network
    and words that nobody else writes. :meth:`forget` takes all of that away. The weights of the
    network were learned from everybody; only :meth:`fit` on the remaining text makes them anew.
    """

    def __init__(
        self,
        method: str = RECOMMENDED,
        framework: Framework | None = None,
        settings: PersonalizerSettings = PersonalizerSettings(),
        progress: bool | None = None,
    ) -> None:
        if method != RECOMMENDED:
            Method.named(method)
        self.method = method
        self.framework = chosen_framework(framework)
        self.settings = settings
        self.progress = progress
        self._kept: Kept | None = None
        self._keyboards: OrderedDict[int, Keyboard] = OrderedDict()

    def __repr__(self) -> str:
        state = "not fitted" if self._kept is None else f"{len(self.users):,} users"
        return f"Personalizer(method={self.method!r}, framework={self.framework!r}, {state})"

    def fit(
        self,
        messages: Any,
        user: str | None = None,
        text: str | None = None,
        time: str | None = None,
        **reading: Any,
    ) -> Personalizer:
        """Train on everybody's messages, and choose what serves.

        Each user's text is split in time: the first eight tenths to train on, the next to choose
        numbers on, the last to report on. Afterwards all of it is counted.

        Parameters
        ----------
        messages : path, frame, table, iterable or Corpus
            A file, a folder of files, a frame of pandas, a table of Arrow, records, or a corpus
            that was read before.
        user, text, time : str
            The columns that hold who wrote, what and when. Without `time`, the order of the rows is
            the order in time.
        **reading
            Other options of :func:`companion.corpora.reading.logs.read`, such as
            ``format="whatsapp"``, which knows its columns.

        Returns
        -------
        Personalizer
            Itself.

        Raises
        ------
        companion.corpora.reading.logs.LogError
            If the log cannot be read; the message names the row and the remedy.
        """
        corpus = self._read(messages, user=user, text=text, time=time, **reading)
        data, texts = prepared(corpus, self.settings)
        study = Study(data, self.framework, self.settings, self.progress)
        choice = choosing.choose(study, self.method)
        serving = choice.candidate
        others = [study.candidate(Method()), study.candidate(Method(cache=True))]
        report = reporting.report(study, serving, others, choice.reasons)
        self._take(
            Kept(
                framework=self.framework,
                asked=self.method,
                settings=self.settings,
                method=serving.method,
                numbers=serving.numbers,
                trial=serving.trial,
                network=serving.network,
                texts=texts,
                report=report,
            )
        )
        return self

    def suggest(self, user: str, text: str = "", k: int = SHOWN) -> list[str]:
        """The words that most probably come next, or that the unfinished last word may become.

        Parameters
        ----------
        user : str
            Who is typing. Somebody who was never heard of is served everybody's model.
        text : str
            The message so far. Its last word is unfinished, unless a space follows.
        k : int
            How many words to suggest; fewer come back where fewer begin so.

        Raises
        ------
        NotFittedError
            Before :meth:`fit` or :meth:`load`.
        TypeError, ValueError
            If `user` or `text` is no string, `user` is empty, or `k` is below 1.
        """
        kept, k = self._fitted, check_integer("k", k, at_least=1)
        number = kept.texts.id(user)
        before, prefix = unfinished(text, self.settings.tokenizer, self.settings.lower)
        history = cut(before, self.settings.tokenizer, self.settings.lower)
        own = kept.texts.own.beginning_with(number, prefix)
        return best_words(self._keyboard(number), kept.texts.encoded(history), prefix, own, k)

    def learn(self, user: str, text: str) -> None:
        """Count a message that a user has written, known or new; it shows in the next suggestion.

        The state of the network stays as it is until :meth:`refit`. A text without a word is
        no message.

        Raises
        ------
        NotFittedError
            Before :meth:`fit` or :meth:`load`.
        TypeError, ValueError
            If `user` or `text` is no string, or `user` is empty.
        """
        kept = self._fitted
        words = cut(text, self.settings.tokenizer, self.settings.lower)
        if words:
            self._keyboards.pop(kept.learn(user, words), None)

    def refit(self, users: Iterable[str] | None = None) -> None:
        """Make the network's states of some users anew from all of their text.

        Parameters
        ----------
        users : iterable of str, optional
            Whose; everybody's who has written since their state was made, if not given.

        Raises
        ------
        ValueError
            If a user is not known, or the method that serves keeps no state.
        """
        kept = self._fitted
        chosen = [kept.texts.known_id(user) for user in users or ()]
        numbers = kept.waiting() if users is None else sorted(set(chosen))
        if numbers:
            kept.refit(numbers)
            self._keyboards.clear()

    def forget(self, user: str) -> None:
        """Forget one user: name, text, counts and state; nobody else's.

        Nothing of it is in the folder of the next :meth:`save`, which counts the n-gram and the
        vocabulary of everybody anew.

        Raises
        ------
        ValueError
            If the user is not known.
        """
        kept = self._fitted
        kept.forget(user)
        self._keyboards.clear()

    def report(self) -> reporting.Report:
        """What it buys on test text, for whom, at what cost, and who is hurt.

        ``print`` it, or look at its tables; users stand there by their names.
        """
        report, names = self._fitted.report, self._fitted.texts.names
        return replace(report, users=report.users.rename(index=dict(enumerate(names))))

    @property
    def users(self) -> list[str]:
        """The names of everybody who is known."""
        return self._fitted.texts.users

    @property
    def chosen(self) -> str:
        """The name of the method that serves."""
        return str(self._fitted.method)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does."""
        return self._fitted.report.reasons

    def save(self, folder: str | PathLike[str]) -> None:
        """Write everything that is needed to go on elsewhere; whole, or not at all.

        Raises
        ------
        NotFittedError
            Before :meth:`fit` or :meth:`load`.
        FileExistsError
            If the folder holds anything else.
        OSError
            If there is no room, say. What was saved there before still counts.
        """
        self._fitted.tidy()
        self._keyboards.clear()
        saving.save(self._fitted, folder)

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        tokenizer: Tokenizer | None = None,
        progress: bool | None = None,
    ) -> Personalizer:
        """What :meth:`save` wrote: it suggests the same.

        Parameters
        ----------
        folder : path
        tokenizer : callable, optional
            The one it was fitted with, if that was a function of your own, which no file can hold.
        progress : bool, optional

        Raises
        ------
        FileNotFoundError
            If nothing was saved there.
        companion.keeping.files.CorruptedFileError
            If a file is truncated or was altered.
        ValueError
            If a tokenizer of your own is needed.
        ImportError
            If the framework that it was fitted with is not installed.
        """
        kept = saving.load(folder, tokenizer)
        personalizer = cls(kept.asked, kept.framework, kept.settings, progress)  # type: ignore[arg-type]
        personalizer._take(kept)
        return personalizer

    @property
    def _fitted(self) -> Kept:
        if self._kept is None:
            raise NotFittedError("this Personalizer is not fitted yet: call fit, or load one")
        return self._kept

    def _take(self, kept: Kept) -> None:
        """Serve what was fitted or loaded."""
        self._kept = kept
        self._keyboards.clear()

    def _read(self, messages: Any, **columns: Any) -> Corpus:
        if isinstance(messages, Corpus):
            return messages
        options = {
            "min_messages": self.settings.min_messages,
            "lower": self.settings.lower,
            "tokenizer": self.settings.tokenizer,
            "progress": self.progress,
        }
        return logs.read(messages, **{**options, **columns})

    def _keyboard(self, number: int | None) -> Keyboard:
        """A keyboard for one user, which remembers the message that is being typed."""
        key = -1 if number is None else number
        if key in self._keyboards:
            self._keyboards.move_to_end(key)
            return self._keyboards[key]
        kept = self._fitted
        model = as_stepping(kept.model_of(number))
        keyboard = Keyboard(model, kept.texts.vocabulary, number)
        self._keyboards[key] = keyboard
        if len(self._keyboards) > KEYBOARDS:
            self._keyboards.popitem(last=False)
        return keyboard


__all__ = ["NotFittedError", "Personalizer"]
