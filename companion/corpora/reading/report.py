"""What became of every row of a log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """What became of every row of a log: ``rows = messages + empty + unnamed + short_messages``.

    Parameters
    ----------
    rows : int
        Rows read, blank lines not counted.
    messages : int
        Those that are in the corpus.
    empty : int
        Skipped: no word in them.
    unnamed : int
        Skipped: no user given.
    short_users, short_messages : int
        Users dropped because they have too few messages, and these messages.
    doubtful : int
        Rows, kept or not, with a line inside a quoted field that could be a row of its own: where
        a quote is not closed in its row, the rows up to the next quote become part of the text.
    system : int
        Lines of a chat that nobody wrote, such as that somebody joined; no rows.
    attachments : int
        Of the empty rows, those that stood for a picture, a voice message or another attachment.
    """

    rows: int
    messages: int
    empty: int = 0
    unnamed: int = 0
    short_users: int = 0
    short_messages: int = 0
    doubtful: int = 0
    system: int = 0
    attachments: int = 0

    def __str__(self) -> str:
        short = f"messages of {self.short_users:,} users with too few"
        skipped = {
            "attachments": self.attachments,
            "empty texts": self.empty - self.attachments,
            "rows without a user": self.unnamed,
            short: self.short_messages,
        }
        left_out = ", ".join(f"{count:,} {what}" for what, count in skipped.items() if count)
        told = f"{self.messages:,} of {self.rows:,} rows kept"
        if left_out:
            told += f"; left out: {left_out}"
        if self.system:
            told += f"; lines that nobody wrote: {self.system:,}"
        if self.doubtful:
            told += (
                f"; rows with a line inside quotes that looks like a row: {self.doubtful:,} (if "
                "the file quotes nothing, pass quote=None)"
            )
        return told


__all__ = ["Report"]
