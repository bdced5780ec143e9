"""The twins have the same files, the same public names and the same parameters and defaults."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import companion

FOLDERS = [Path(companion.__file__).parent / name for name in ("pytorch", "keras")]
FRAMEWORK_METHODS = {
    "forward",
    "call",
    "build",
    "train_step",
}  # what each framework asks a model to define


def shape(parameters):
    """Names, kinds and defaults, in order."""
    return [(p.name, p.kind.name, repr(p.default)) for p in parameters]


def public_methods(cls):
    """Methods that the class itself defines, its making included."""
    return {
        name: inspect.signature(method).parameters.values()
        for name, method in vars(cls).items()
        if inspect.isfunction(method)
        and (name == "__init__" or not name.startswith("_"))
        and name not in FRAMEWORK_METHODS
    }


def surface(module):
    """Everything public of a module: a flat map from dotted names to parameters."""
    found = {}
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing):
            found[name] = "class"
            methods = public_methods(thing).items()
            found |= {f"{name}.{method}": shape(parameters) for method, parameters in methods}
        elif callable(thing):
            found[name] = shape(inspect.signature(thing).parameters.values())
        else:
            found[name] = repr(thing)
    return found


def differences(first, second):
    """What one module has and the other has not, or has otherwise."""
    a, b = surface(first), surface(second)
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


def modules(folder):
    return {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_the_folders_hold_the_same_files():
    first, second = map(modules, FOLDERS)
    assert first == second
    assert {"base_model", "training"} <= first


@pytest.mark.parametrize("name", sorted(set.union(*map(modules, FOLDERS))))
def test_twins_agree(name):
    twins = [importlib.import_module(f"companion.{f.name}.{name}") for f in FOLDERS]
    assert differences(*twins) == []


def toy(**names):
    module = ModuleType("toy")
    vars(module).update(names, __all__=list(names))
    return module


class Model:
    def __init__(self, size, seed=0): ...
    def step(self, tokens): ...
    def forward(self, tokens): ...
    def _hidden(self): ...


class SameModel:
    def __init__(self, size, seed=0): ...
    def step(self, tokens): ...
    def call(self, inputs): ...


class OtherModel:
    def __init__(self, size, seed=1): ...
    def step(self, tokens, users=None): ...
    def reset(self): ...


def train(model, epochs=3): ...


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (toy(train=train), toy(train=train), []),
        (toy(Model=Model), toy(Model=SameModel), []),
        (toy(train=train), toy(), ["train"]),
        (toy(), toy(train=train), ["train"]),
        (toy(train=train), toy(train=lambda model, epochs=4: 0), ["train"]),
        (toy(train=train), toy(train=lambda network, epochs=3: 0), ["train"]),
        (toy(train=train), toy(train=lambda model, *, epochs=3: 0), ["train"]),
        (
            toy(Model=Model),
            toy(Model=OtherModel),
            ["Model.__init__", "Model.reset", "Model.step"],
        ),
        (toy(SIZE=3), toy(SIZE=4), ["SIZE"]),
    ],
)
def test_unequal_modules_would_be_seen(first, second, expected):
    assert differences(first, second) == expected
    assert differences(second, first) == expected


def test_a_module_must_say_what_is_public():
    with pytest.raises(AttributeError):
        surface(SimpleNamespace(train=train))
