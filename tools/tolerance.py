"""Compare two texts, numbers as numbers: how a stored output is held against a new one.

Integers, words and layout must be equal. Decimals may differ by ``RELATIVE``, by ``UNITS`` of the
last digit stored, or by ``ABSOLUTE``, whichever is most: training sums in another order on another
processor, and where 3.8 % of 400 users are hurt, one user more is three units of that digit. A
claim that needs more than that is asserted in a cell.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

ABSOLUTE = 0.005
RELATIVE = 0.02
UNITS = 3

_NUMBER = re.compile(
    r"(?P<version>(?<![\w.])\d+(?:\.\d+){2,})"  # 2.13.0 is a name, not a number
    r"|(?P<decimal>(?:(?<![\w.])[-+\u2212])?(?<![\w.])"
    r"(?:\d[\d,]*\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+(?!\w)))"
)
_SPACES = re.compile(r"[ \t]+")
_RULES = re.compile(r"([-=─━═])\1{2,}")


def _read(text: str) -> tuple[str, list[str]]:
    """Split a text into what must be equal and the decimals that must be close."""
    decimals: list[str] = []

    def mask(match: re.Match[str]) -> str:
        if match["version"]:
            return match[0]
        decimals.append(match[0].replace(",", "").replace("\u2212", "-"))
        return "<decimal>"

    masked = _NUMBER.sub(mask, text)
    # A number one digit shorter moves the columns of a table, and its rules, by one character.
    masked = _RULES.sub(r"\1\1\1", _SPACES.sub(" ", masked))
    return "\n".join(line.strip() for line in masked.splitlines()), decimals


def close(reference: str, computed: str) -> bool:
    """Tell whether two decimals, as printed, are equal within the tolerance of the first."""
    unit = float(Decimal(1).scaleb(int(Decimal(reference).as_tuple().exponent)))
    least = 0.0 if "e" in reference.lower() else ABSOLUTE  # 1e-6 is printed for its size
    absolute = max(UNITS * unit, least) * (1 + 1e-9)  # 0.28 - 0.25 is a little above 0.03
    one, other = float(reference), float(computed)
    return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=absolute)


def same(reference: str, computed: str) -> bool:
    """Tell whether two texts say the same, decimals within the tolerance."""
    one, numbers = _read(reference)
    other, others = _read(computed)
    return one == other and all(map(close, numbers, others))


class Tolerant(str):
    """A text that is equal to another one that says the same."""

    __slots__ = ()
    __hash__ = None  # equal texts need not be identical, so none may be a key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and same(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other
