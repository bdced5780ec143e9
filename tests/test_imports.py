"""What an import loads, and how long it takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import companion

SETTINGS = "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; "
EVERYTHING = (
    "import importlib, pkgutil, {0}\n"
    "for m in pkgutil.iter_modules({0}.__path__): importlib.import_module('{0}.' + m.name)\n"
)
LOADED = (
    "import sys, json; frameworks = 'torch', 'tensorflow', 'keras'\n"
    "print(json.dumps([name for name in frameworks if name in sys.modules]))"
)
QUICK = 0.1  # seconds


def python(code):
    """What a fresh interpreter prints last."""
    run = subprocess.run(
        [sys.executable, "-c", SETTINGS + code], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("package", "frameworks"),
    [
        ("companion.corpora", []),
        ("companion.corpora.generator", []),
        ("companion.corpora.reading", []),
        ("companion.figures", []),
        ("companion.keeping", []),
        ("companion.measure", []),
        ("companion.users", []),
        ("companion.pytorch", ["torch"]),
        ("companion.keras", ["tensorflow", "keras"]),
    ],
)
def test_no_framework_is_loaded_but_its_own(package, frameworks):
    assert python(EVERYTHING.format(package) + LOADED) == frameworks


def test_what_the_twins_share_loads_no_framework():
    shared = sorted(path.stem for path in Path(companion.__file__).parent.glob("[!_]*.py"))
    shared.remove("parity")  # which sees both
    imports = "import " + ", ".join(f"companion.{name}" for name in shared)
    assert python(imports + "\n" + LOADED) == []


def test_the_check_sees_what_is_loaded():
    code = "import sys; sys.modules['torch'] = sys\nimport companion\n"
    assert python(code + LOADED) == ["torch"]


def test_import_is_quick():
    code = (
        "import sys, time; before = {*sys.modules}; start = time.perf_counter(); import companion\n"
        "print([time.perf_counter() - start, sorted({*sys.modules} - before)])"
    ).replace("print(", "import json; print(json.dumps(") + ")"
    seconds, loaded = zip(*(python(code) for _ in range(3)), strict=True)
    assert min(seconds) < QUICK  # the least of three: a busy machine adds, it never takes away
    assert all(not name.startswith(("numpy", "pandas", "scipy")) for name in loaded[0])
