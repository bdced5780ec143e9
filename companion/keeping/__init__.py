"""Make once, keep, and refuse what was altered.

``files`` writes and reads named arrays with a checksum, atomically and without pickle; ``cache``
keeps what took long to make, keyed by everything that decided it. Neither knows what it keeps.
"""

from .cache import cache_folder, kept, source_fingerprint
from .files import CorruptedFileError, load_arrays, save_arrays

__all__ = [
    "CorruptedFileError",
    "cache_folder",
    "kept",
    "load_arrays",
    "save_arrays",
    "source_fingerprint",
]
