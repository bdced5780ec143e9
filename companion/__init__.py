"""Companion to *One Network, Many Users*: personalize a recurrent network for each of its users.

``companion.corpora`` brings text, ``companion.measure`` judges models, ``companion.users`` holds
what is kept of each user, ``companion.figures`` draws, and ``companion.keeping`` keeps what took
long. ``companion.pytorch`` and ``companion.keras`` are the twins that hold the models. Importing
this package loads neither framework.
"""

__version__ = "0.1.0"
