import os

import pytest


@pytest.fixture
def real_data():
    """Real text must be there; on a machine that tests for everybody, its absence is a failure."""
    if not os.environ.get("COMPANION_DATA"):
        reason = "set COMPANION_DATA to a folder with shakespeare_plays/ and gitter_freecodecamp/"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
