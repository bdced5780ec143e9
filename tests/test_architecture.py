"""Who may import whom: the ground below the wings, the wings below the twins, and no circles."""

import ast
import shutil
from pathlib import Path

import pytest

import companion

ROOT = Path(companion.__file__).parent
GROUND = {"settings", "checks", "history", "progress", "glue", "keeping"}
TWINS = {"pytorch", "keras"}
ALLOWED = {  # what each place may import besides the ground; the ground itself only the ground
    "corpora": set(),
    "measure": {"corpora"},
    "users": {"corpora"},
    "keyboard": {"corpora", "measure"},
    "figures": {"measure"},
    "pytorch": {"corpora", "measure", "users", "figures"},
    "keras": {"corpora", "measure", "users", "figures"},
    "parity": {"corpora", "measure", "users", "figures", *TWINS},
}
LOOSE = 11  # modules beside the wings, at most


def modules(root):
    """Every file of the package by its dotted name."""
    names = {
        path: ["companion", *path.relative_to(root).with_suffix("").parts]
        for path in root.rglob("*.py")
    }
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts): path
        for path, parts in names.items()
    }


def imported(name, path, known):
    """Modules of the package that a file imports, wherever in it."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            full = {f"{base}.{alias.name}" for alias in node.names}
            found |= {one if one in known else base for one in full}
    return {one for one in found if one in known} - {name}


def place(name):
    """The wing, or the loose module, that a module belongs to; the package's front has none."""
    return name.split(".")[1] if "." in name else None


def forbidden(root):
    """Imports that run up or across, as ``importer -> imported``."""
    known = modules(root)
    wrong = []
    for name, path in known.items():
        own = place(name)
        may = GROUND | ALLOWED.get(own, set()) | {own}
        targets = imported(name, path, known)
        wrong += [f"{name} -> {target}" for target in targets if place(target) not in may]
    return sorted(wrong)


def circles(root):
    """Pairs of files that import each other; a wing's front imports what lives there."""
    known = {name: path for name, path in modules(root).items() if path.name != "__init__.py"}
    arrows = {name: imported(name, path, known) for name, path in known.items()}
    return sorted((a, b) for a in arrows for b in arrows[a] if a < b and a in arrows[b])


@pytest.fixture
def broken(tmp_path):
    """A copy of the package to break."""
    copy = tmp_path / "companion"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_nobody_imports_what_stands_above():
    assert forbidden(ROOT) == []


def test_no_two_files_import_each_other():
    assert circles(ROOT) == []


def test_few_modules_lie_loose():
    assert len([*ROOT.glob("[!_]*.py")]) <= LOOSE


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        ("corpora/tokens.py", "from companion.measure import scores",
         "companion.corpora.tokens -> companion.measure.scores"),
        ("settings.py", "from . import corpora", "companion.settings -> companion.corpora"),
        ("measure/ngram.py", "import companion.users.states",
         "companion.measure.ngram -> companion.users.states"),
        ("keras/training.py", "from companion.pytorch import training",
         "companion.keras.training -> companion.pytorch.training"),
        ("users/states.py", "def f():\n    from ..pytorch.training import train",
         "companion.users.states -> companion.pytorch.training"),
    ],
)  # fmt: skip
def test_an_import_that_runs_up_is_seen(broken, file, line, arrow):
    path = broken / file
    path.write_text(path.read_text("utf-8") + f"\n{line}\n", "utf-8")
    assert arrow in forbidden(broken)


def test_a_circle_is_seen(broken):
    path = broken / "corpora" / "reading" / "source.py"
    path.write_text(path.read_text("utf-8") + "\nfrom .rows import chunks\n", "utf-8")
    pair = ("companion.corpora.reading.rows", "companion.corpora.reading.source")
    assert pair in circles(broken)
