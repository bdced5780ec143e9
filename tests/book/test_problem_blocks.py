"""Every code block of the page on the problem is run by a test of one of the two frameworks."""

from pathlib import Path

import pytest

from tests.book.pitfalls import blocks

TESTS = [Path(__file__).with_name(f"test_problem_pitfalls_{n}.py") for n in ("pytorch", "keras")]


def test_the_page_has_the_blocks():
    assert len(blocks()) >= 18
    assert {"torch-setup", "keras-setup"} <= set(blocks())


@pytest.mark.parametrize("name", [name for name in blocks() if not name.endswith("setup")])
def test_a_block_is_tested(name):
    family, _, kind = name.rpartition("-")
    tested = "".join(path.read_text(encoding="utf-8") for path in TESTS)
    assert f'"{name}"' in tested or (f'f"{family}-{{kind}}"' in tested and f'"{kind}"' in tested)
