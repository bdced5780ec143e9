"""The command ``companion``: what personalizing would buy on your logs, and a keyboard from them.

Nothing of the text is in an error message or in a line about progress. Exit codes: 0 where all went
well, 1 where the work failed, 2 where the command was not understood, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from companion.corpora import Corpus, logs
from companion.corpora.reading.forms import FORMS
from companion.personal.folders import current_version, locked
from companion.personal.settings import METHODS, RECOMMENDED, Method, PersonalizerSettings
from companion.personal.typing_line import type_along
from companion.personalizer import Personalizer

app = typer.Typer(
    help="Personal keyboards from your own logs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would print variables, and text with them
)

Logs = Annotated[
    Path, typer.Argument(help="CSV, JSON, JSON Lines or Parquet, or a folder of such files.")
]
Folder = Annotated[Path, typer.Argument(help="Where `companion fit` saved.")]
Who = Annotated[str, typer.Argument(help="The user's name, as in the logs.")]
User = Annotated[str | None, typer.Option(help="The column that holds who wrote.")]
Text = Annotated[
    str | None,
    typer.Option(help="The column that holds what they wrote."),
]
Form = Annotated[
    str | None,
    typer.Option(help=f"An export that knows its columns: {', '.join(FORMS)}."),
]
Time = Annotated[str | None, typer.Option(help="The column that holds when.")]
Framework = Annotated[
    str | None,
    typer.Option(help="pytorch or keras; PyTorch where it is installed."),
]
Small = Annotated[
    bool, typer.Option("--small", help="Tiny networks: to see in seconds whether all works.")
]


@dataclass(frozen=True)
class Columns:
    """Where messages stand in a log, as :func:`logs.read` takes it."""

    user: str | None
    text: str | None
    time: str | None
    format: str | None


@app.command(
    epilog="Example:  companion evaluate log.csv --user author --text body --report r.html"
)
def evaluate(
    path: Logs,
    report: Annotated[Path, typer.Option(help="The page to write; a .json comes beside it.")],
    user: User = None,
    text: Text = None,
    time: Time = None,
    format: Form = None,
    methods: Annotated[
        str | None,
        typer.Option(help=f"Some of {', '.join(METHODS)}, with commas between."),
    ] = None,
    framework: Framework = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="How long it may take.", min=0.1),
    ] = None,
    show_words: Annotated[
        bool, typer.Option("--show-words", help="Show words of the text in the report.")
    ] = False,
    small: Small = False,
) -> None:
    """Say what personalizing would buy on your logs: one page, and not a word of the text in it."""
    from companion.personal import evaluating, pages
    from companion.personal.networks import chosen_framework

    with _named_errors():
        clock = evaluating.Clock(minutes)
        chosen = evaluating.TRIED if methods is None else tuple(methods.split(","))
        for name in chosen:
            Method.named(name)
        _check_writable(report)
        twin = chosen_framework(framework)
        settings = _settings(small)
        columns = Columns(user, text, time, format)
        corpus = _read(path, columns, settings)
        found = evaluating.evaluate(corpus, twin, chosen, settings, clock, show_words, _tell)
        pages.write(found, report, _code(path, columns, found.report.method))
        typer.echo(str(found.report))
        _tell(f"written: {report} and {report.with_suffix('.json').name}")


@app.command(epilog="Example:  companion fit log.csv keyboard/ --user author --text body")
def fit(
    path: Logs,
    folder: Annotated[Path, typer.Argument(help="The folder to save in.")],
    user: User = None,
    text: Text = None,
    time: Time = None,
    format: Form = None,
    method: Annotated[
        str, typer.Option(help=f"{RECOMMENDED}, or one of {', '.join(METHODS)}.")
    ] = RECOMMENDED,
    framework: Framework = None,
    small: Small = False,
) -> None:
    """Train a keyboard on your logs and save it."""
    with _named_errors():
        settings = _settings(small)
        columns = Columns(user, text, time, format)
        keyboard = Personalizer(method, framework, settings)  # type: ignore[arg-type]
        corpus = _read(path, columns, settings)
        _tell("training")
        keyboard.fit(corpus)
        keyboard.save(folder)
        typer.echo(str(keyboard.report()))
        _tell(f"saved: {folder}")


@app.command(epilog='Example:  companion suggest keyboard/ ana "lunch with yu"')
def suggest(
    folder: Folder,
    user: Who,
    text: Annotated[
        str | None,
        typer.Argument(help="The message so far; without it, type and see three words change."),
    ] = None,
) -> None:
    """Suggest three words after a text, or while you type."""
    with _named_errors():
        keyboard = Personalizer.load(folder)
        if text is None:
            type_along(lambda line: keyboard.suggest(user, line))
        else:
            for word in keyboard.suggest(user, text):
                typer.echo(word)


@app.command(epilog='Example:  companion learn keyboard/ ana "lunch with yuki at noon"')
def learn(
    folder: Folder,
    user: Who,
    text: Annotated[str, typer.Argument(help="The message; - reads one a line from the input.")],
    refit: Annotated[
        bool, typer.Option("--refit", help="Make the user's state of the network anew, too.")
    ] = False,
) -> None:
    """Learn a message that a user has written."""
    with _named_errors(), _changing(folder) as keyboard:
        for line in sys.stdin if text == "-" else [text]:
            keyboard.learn(user, line)
        if refit:
            keyboard.refit()


@app.command(epilog="Example:  companion forget keyboard/ ana")
def forget(folder: Folder, user: Who) -> None:
    """Forget a user: name, text, counts and state; nothing of it stays in the folder."""
    with _named_errors(), _changing(folder) as keyboard:
        keyboard.forget(user)


@contextmanager
def _changing(folder: Path) -> Iterator[Personalizer]:
    """What is saved there, to be changed and saved; no other process changes it meanwhile."""
    current_version(folder)  # before the lock, which makes the folder
    with locked(folder):
        keyboard = Personalizer.load(folder)
        yield keyboard
        keyboard.save(folder)


def _tell(line: str) -> None:
    """A line about progress."""
    typer.echo(line, err=True)


@contextmanager
def _named_errors() -> Iterator[None]:
    """What is refused is said in one line, without a traceback; exit code 1."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _read(path: Path, columns: Columns, settings: PersonalizerSettings) -> Corpus:
    """The log as a corpus; what became of its rows is told."""
    return logs.read(
        path,
        **asdict(columns),
        min_messages=settings.min_messages,
        report=lambda found: _tell(str(found)),
    )


def _settings(small: bool) -> PersonalizerSettings:
    """The default settings, or those of tiny networks."""
    settings = PersonalizerSettings()
    if not small:
        return settings
    return replace(
        settings,
        base=replace(settings.base, embedding=16, hidden=16),
        training=replace(settings.training, epochs=2),
        steps=1,
        rates=(1.0,),
        passes=(1,),
        targets=3000,
    )


def _check_writable(report: Path) -> None:
    """Refuse a place for the report before the work, not after it."""
    if report.suffix not in (".html", ".htm"):
        raise ValueError(f"--report must end in .html, not {report.suffix!r}")
    if not report.absolute().parent.is_dir():
        raise FileNotFoundError(f"--report: there is no folder {report.parent}")


def _code(path: Path, columns: Columns, method: str) -> str:
    """The lines of Python that do what is recommended."""
    given = "".join(f", {name}={value!r}" for name, value in asdict(columns).items() if value)
    return "\n".join(
        [
            "from companion import Personalizer",
            "",
            f"keyboard = Personalizer(method={method!r})",
            f"keyboard.fit({path.name!r}{given})",
            'print(keyboard.suggest("a user", "what they typed so far"))',
            'keyboard.learn("a user", "what they wrote")',
            'keyboard.save("keyboard/")  # Personalizer.load("keyboard/") elsewhere',
        ]
    )


__all__ = ["app"]
