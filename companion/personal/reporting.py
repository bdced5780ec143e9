"""What personalizing buys on test text: for whom, at what cost, and who is hurt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from companion import measure
from companion.measure.statistics import worst_decile

from .choosing import with_interval
from .study import Candidate, Study

GROUPS = 4
READABLE = {
    "loss": ("loss (nats)", "{:.3f}"),
    "top3": ("top 3 (%)", "{:.1f}"),
    "saved": ("keys saved (%)", "{:.1f}"),
    "helped": ("helped (%)", "{:.0f}"),
    "hurt": ("hurt (%)", "{:.0f}"),
    "worst_decile": ("worst tenth (nats)", "{:+.3f}"),
    "bytes": ("bytes a user", "{:,.0f}"),
    "seconds": ("seconds", "{:,.0f}"),
}


@dataclass(frozen=True, eq=False)
class Report:
    """What each model is worth on the last tenth of everybody's text, which nothing was chosen on.

    Parameters
    ----------
    method : str
        Which one serves.
    reasons : tuple of str
        Why.
    table : pandas.DataFrame
        A row for each model, the best of everybody's first: ``loss`` (nats per token), ``top3``,
        ``saved`` (keystrokes; percent), ``gain`` over everybody's (nats per token) with its
        interval over users ``gain_low``, ``gain_high``; ``helped``, ``hurt`` (percent of the
        users), ``worst_decile`` (mean gain of the tenth who gain least), ``bytes`` (what is kept of
        a user, the mean) and ``seconds`` (to train and tune).
    groups : pandas.DataFrame
        Users by the length of their history: ``users``, ``messages`` (from, in training),
        ``gain`` of the method that serves, ``low`` and ``high``.
    users : pandas.DataFrame
        For each user ``messages`` (in training) and ``gain`` of the method that serves.
    words : int
        Test words that were judged.
    """

    method: str
    reasons: tuple[str, ...]
    table: pd.DataFrame
    groups: pd.DataFrame
    users: pd.DataFrame
    words: int

    @property
    def hurt(self) -> pd.DataFrame:
        """The users whose loss is higher than under everybody's model, the worst first."""
        losers = self.users[self.users["gain"] < -measure.statistics.TOLERANCE]
        return losers.sort_values("gain")

    def readable(self) -> pd.DataFrame:
        """The table as text, rounded to what is worth reading, with its units."""
        columns = {title: self.table[name].map(form.format) for name, (title, form) in _SHOWN}
        gains = [_with_interval(*row) for row in self.table[_GAIN].to_numpy()]
        text = pd.DataFrame(columns)
        text.insert(3, "gain (nats)", gains)
        return text.mask(text.map(lambda cell: "nan" in cell), "–")

    def __str__(self) -> str:
        groups = [
            f"  {int(row.users):,} users with {int(row.messages):,} messages or more: gain "
            f"{_with_interval(row.gain, row.low, row.high)}"
            for row in self.groups.itertuples()
        ]
        lines = [
            f"method: {self.method}",
            *(f"  {reason}" for reason in self.reasons),
            f"on {self.words:,} words of test text:",
            self.readable().to_string(),
            "for whom:",
            *groups,
            f"hurt: {len(self.hurt):,} of {len(self.users):,} users",
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; users are ids."""
        return {
            "method": self.method,
            "reasons": list(self.reasons),
            "table": _plain(self.table),
            "groups": _plain(self.groups),
            "users": _plain(self.users),
            "words": self.words,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Report:
        """The report that :meth:`to_dict` gave."""
        tables = {name: _framed(fields[name]) for name in ("table", "groups", "users")}
        return cls(fields["method"], tuple(fields["reasons"]), words=fields["words"], **tables)


_SHOWN = tuple(READABLE.items())
_GAIN = ["gain", "gain_low", "gain_high"]


def report(
    study: Study,
    serving: Candidate,
    others: Sequence[Candidate],
    reasons: Sequence[str],
) -> Report:
    """Judge the model that serves and some others on test text; the first is everybody's."""
    data = study.data
    candidates = {str(one.method): one for one in (*others, serving)}
    scores = {name: study.score(one) for name, one in candidates.items()}
    base = scores[str(others[0].method)]
    rows = {
        one.method.title: _row(scores[name], base, one, data.known_users)
        for name, one in candidates.items()
    }
    users = pd.DataFrame(
        {
            "messages": data.train.message_counts[base.index],
            "gain": measure.per_user_gain(scores[str(serving.method)], base),
        }
    )
    return Report(
        method=str(serving.method),
        reasons=tuple(reasons),
        table=pd.DataFrame.from_dict(rows, orient="index").rename_axis("model"),
        groups=_groups(scores[str(serving.method)], base, users["messages"]),
        users=users,
        words=int(base["words"].sum()),
    )


def _row(
    scores: pd.DataFrame, base: pd.DataFrame, candidate: Candidate, users: np.ndarray
) -> dict[str, float]:
    """One row of the table."""
    gain, low, high = with_interval(scores, base)
    if scores is base:
        gain = low = high = float("nan")
    compared = {
        "gain": gain,
        "gain_low": low,
        "gain_high": high,
        "helped": measure.helped(scores, base),
        "hurt": measure.hurt(scores, base),
        "worst_decile": worst_decile(scores, base),
    }
    return {
        "loss": measure.loss(scores),
        "top3": measure.top3(scores),
        "saved": measure.keystrokes_saved(scores),
        **(dict.fromkeys(compared, float("nan")) if scores is base else compared),
        "bytes": kept_bytes(candidate, users),
        "seconds": candidate.seconds,
    }


def kept_bytes(candidate: Candidate, users: np.ndarray) -> float:
    """What is kept of a user for prediction, in bytes, the mean; their text is not counted."""
    states = candidate.network.states
    kept = 0.0 if states is None else float(states.bytes_per_user)
    if candidate.method.cache:
        kept += float(candidate.counts.bytes_per_user()[users].mean())
    return kept


def _groups(scores: pd.DataFrame, base: pd.DataFrame, messages: pd.Series) -> pd.DataFrame:
    """Gain by length of history: groups of users of about equal size, two at least in each."""
    order = np.argsort(messages.to_numpy(), kind="stable")
    rows = []
    for places in np.array_split(order, max(1, min(GROUPS, len(order) // 2))):
        gain, low, high = with_interval(scores.iloc[places], base.iloc[places])
        least = int(messages.iloc[places].min())
        rows.append(
            {"messages": least, "users": len(places), "gain": gain, "low": low, "high": high}
        )
    return pd.DataFrame(rows)


def _with_interval(gain: float, low: float, high: float) -> str:
    """A gain with its interval, where there is one."""
    return f"{gain:+.3f}" if np.isnan(low) else f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"


def _plain(table: pd.DataFrame) -> dict[str, Any]:
    """A table as JSON holds it: None in the place of NaN."""
    cells = table.astype(object).where(table.notna(), None)
    return {**cells.to_dict("split"), "named": table.index.name}


def _framed(fields: dict[str, Any]) -> pd.DataFrame:
    """The table that :func:`_plain` gave."""
    table = pd.DataFrame(fields["data"], fields["index"], fields["columns"], dtype=float)
    return table.rename_axis(fields["named"])


__all__ = ["Report", "kept_bytes", "report"]
