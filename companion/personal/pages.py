"""The report as one page of HTML: pictures inside, light and dark, nothing from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from companion.keeping import files

from .evaluating import Evaluation

TEMPLATES = Path(__file__).parent / "templates"
WIDTH, ROW, RIGHT = 420, 50, 60  # of a picture, in its own units: readable on a phone, too
HURT_SHOWN = 20


def write(evaluation: Evaluation, path: Path, code: str) -> None:
    """Write the page, and beside it the same for machines, with the ending ``.json``.

    Parameters
    ----------
    evaluation : Evaluation
    path : path
        Of the page.
    code : str
        The lines of Python that do what is recommended.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ImportError
        If Jinja2 is not installed.
    """
    files.write(path, page(evaluation, code).encode())
    told = json.dumps(evaluation.to_dict(), indent=1)
    files.write(path.with_suffix(".json"), f"{told}\n".encode())


def page(evaluation: Evaluation, code: str) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    report = evaluation.report
    models = report.table.iloc[1:]
    groups = report.groups.rename(columns={"low": "gain_low", "high": "gain_high"})
    groups.index = [f"{int(m):,} messages or more" for m in groups["messages"]]
    return environment.get_template("report.html").render(
        evaluation=evaluation,
        report=report,
        serving=report.table.loc[evaluation.choice.candidate.method.title],
        table=report.readable(),
        models=bars(models),
        groups=bars(groups),
        hurt=report.hurt.head(HURT_SHOWN),
        more_hurt=max(0, len(report.hurt) - HURT_SHOWN),
        code=code,
    )


def bars(table: pd.DataFrame) -> dict[str, object]:
    """Gains with their intervals as places in a picture, a row each."""
    ends = table[["gain", "gain_low", "gain_high"]].to_numpy(float)
    least, most = min(0.0, np.nanmin(ends, initial=0.0)), max(1e-3, np.nanmax(ends, initial=0.0))

    def place(value: float) -> float:
        return round(4 + float(value - least) / (most - least) * (WIDTH - RIGHT - 8), 1)

    rows = []
    for i, (name, (gain, low, high)) in enumerate(zip(table.index, ends, strict=True)):
        interval = None if np.isnan(low) else (place(low), place(high))
        row = {"name": name, "y": ROW * i, "x": place(gain), "interval": interval}
        rows.append({**row, "shown": f"{gain:+.3f}"})
    told = "; ".join(f"{row['name']}: {row['shown']}" for row in rows)
    height = ROW * len(rows)
    return {"rows": rows, "zero": place(0.0), "height": height, "width": WIDTH, "told": told}


__all__ = ["bars", "page", "write"]
