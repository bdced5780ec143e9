"""What a personalizer is made of: texts, counts, networks, how they are chosen and reported.

``settings`` names the methods, ``texts`` and ``words`` keep what users write, ``counting`` mixes
counts in, ``networks`` trains one twin's networks by their names. ``study`` tunes models to choose
from, ``choosing`` chooses, ``reporting`` says what it buys, and ``folders`` saves. On top stands
:class:`companion.Personalizer`.
"""

from .settings import METHODS, Method, PersonalizerSettings

__all__ = ["METHODS", "Method", "PersonalizerSettings"]
