"""Figures: what they show, how they look, and that they leave nothing behind."""

import io
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image

from companion import figures, measure
from companion.figures.looks import BOUNDS, SIZE
from companion.history import History

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


@pytest.fixture(autouse=True, scope="module")
def no_window():
    mpl.use("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def trio():
    """Scores of a model at about half the way between two bounds."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(50, 400, 60)
    aware = rng.uniform(0.6, 1.2, 60)
    blind = aware + rng.uniform(0.1, 0.6, 60)
    losses = (aware + blind) / 2 + rng.normal(0, 0.1, 60), blind, aware
    columns = {"tokens": tokens, "words": tokens, "top1": tokens // 3, "top3": tokens // 2}
    columns |= {"keystrokes": tokens * 5.0, "saved": tokens * 2.0}
    return [pd.DataFrame(columns | {"nll": loss * tokens}).rename_axis("user") for loss in losses]


@pytest.fixture(scope="module")
def drawn(trio):
    """Every figure of the book."""
    model, blind, aware = trio
    models = dict.fromkeys(figures.LOOKS, model) | {"base model": blind}
    compared = measure.compare(models, "base model", blind, aware)
    grouped = measure.by_history(*trio, np.arange(60) + 3)
    cold = grouped.set_index(np.array([0, 5, 10, 20, 40]))
    history = History(training=[3.0, 2.0, 1.5], validation=[2.8, 1.9, 1.6])
    points = np.random.default_rng(1).normal(size=(100, 2))
    strengths = pd.DataFrame({"forgotten": [0.3, 0.01, 0.1], "gain": [0.1, 0.05, 0.2]})
    named = pd.Series([5.0, 30.0, 80.0, 95.0], index=[1, 5, 20, 50])
    beliefs = np.log(np.random.default_rng(2).dirichlet(np.full(4, 0.5), 500))
    sure = measure.reliability(beliefs, np.arange(500) % 4)
    whose = ("exact posterior", "user heads", "naive Bayes")
    return {
        "bounds": figures.losses_between_bounds(compared),
        "gains": figures.gains_over_base(compared),
        "user": figures.gain_by_user(measure.per_user_gain(model, blind), "fine-tuning"),
        "history": figures.gain_by_history({"fine-tuning": grouped, "user heads": grouped}),
        "cold start": figures.gain_by_history({"meta-learning": cold}),
        "learning": figures.learning_curve(history, blind=1.4, aware=1.1),
        "groups": figures.scatter_by_group(points, [f"dialect {i % 6}" for i in range(100)]),
        "frontier": figures.frontier(dict.fromkeys(("adapter", "all", "L2-SP"), strengths)),
        "naming": figures.naming(dict.fromkeys(whose, named)),
        "reliability": figures.reliability(dict.fromkeys(whose, sure)),
        "lengths": figures.history_lengths(np.geomspace(30, 1000, 120).astype(int)),
    }


def test_every_figure_is_one_width_opaque_and_small(drawn):
    for name, (figure, axes) in drawn.items():
        stored = figures.png(figure)
        assert len(stored) < 60_000, name
        image = Image.open(io.BytesIO(stored))
        assert image.width == 200 * SIZE[0], name
        assert np.asarray(image.convert("RGBA"))[..., 3].min() == 255, name
        assert axes.get_xlabel(), name


def test_few_colors_make_no_difference_to_the_eye(drawn):
    for name in ("bounds", "cold start"):
        figure, full = drawn[name][0], io.BytesIO()
        figure.savefig(full, format="png", dpi=200)
        full = np.asarray(Image.open(full).convert("RGB"), dtype=int)
        small = np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB"), dtype=int)
        assert np.abs(full - small).mean() < 0.5, name
        assert (small[:5] == 255).all(), name


def test_no_text_is_small_or_cut_off(drawn):
    for name, (figure, _) in drawn.items():
        figure.canvas.draw()
        for text in figure.findobj(plt.Text):
            if text.get_text() and text.get_visible():
                assert text.get_fontsize() >= 9, (name, text)
        inside, whole = figure.get_tightbbox(), figure.get_size_inches()
        assert inside.x0 >= -0.01, name
        assert inside.y0 >= -0.01, name
        assert inside.x1 <= whole[0] + 0.01, name
        assert inside.y1 <= whole[1] + 0.01, name


def test_drawing_changes_no_setting():
    before = dict(mpl.rcParams)
    figures.history_lengths(np.arange(1, 50))
    assert dict(mpl.rcParams) == before


def test_apply_gives_the_look_to_later_plots():
    with mpl.rc_context():
        figures.apply()
        figure, axes = plt.subplots()
        assert tuple(figure.get_size_inches()) == SIZE
        assert not axes.spines["top"].get_visible()


def linear(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
def test_methods_are_told_apart_by_color_and_by_marker(vision):
    seen = {name: lab(VISIONS[vision] @ linear(m.color)) for name, m in figures.LOOKS.items()}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 27, (one, other)
    assert len({method.marker for method in figures.LOOKS.values()}) == len(figures.LOOKS)


def test_colors_stand_out_from_white():
    for method in figures.LOOKS.values():
        assert 1.05 / (TO_XYZ[1] @ linear(method.color) + 0.05) > 2.5


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("base model", "base model"),
        ("Base model + unigram cache", "unigram cache"),
        ("user embeddings", "user embedding"),
        ("fine-tuning, last layer", "fine-tuning"),
        ("hypernetworks", "hypernetwork"),
    ],
)
def test_the_look_follows_the_method(name, method):
    assert figures.look(name) == figures.LOOKS[method]


def test_a_method_of_the_reader_is_black():
    assert figures.look("my own idea").color == "#000000"


def test_dots_stand_where_the_losses_are(trio):
    model, blind, aware = trio
    compared = measure.compare({"user heads": model, "n-gram": blind}, "n-gram", blind, aware)
    _, axes = figures.losses_between_bounds(compared)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["user heads", "n-gram"]
    dots = [line for line in axes.lines if line.get_marker() not in ("None", "|")]
    assert dots[0].get_xdata() == pytest.approx(measure.loss(model))
    low, high = next(line for line in axes.lines if line.get_marker() == "|").get_xdata()
    assert low < measure.loss(model) < high
    bounds = {line.get_xdata()[0] for line in axes.lines[-2:]}
    assert bounds == {measure.loss(aware), measure.loss(blind)}
    captured = f"{measure.gain_captured(model, blind, aware):.0f} %"
    assert captured in [text.get_text() for text in axes.texts]


def test_users_helped_and_hurt_are_counted_as_in_the_table():
    gains = pd.Series([0.3, 0.2, -0.1, 0.0, 0.0001])
    _, axes = figures.gain_by_user(gains, "fine-tuning")
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["helped: 2 of 5 users", "hurt: 1 of 5 users"]
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [0.3, 0.2, -0.1]


def test_no_history_has_its_place_on_the_axis():
    curve = pd.DataFrame({"captured": [0, 50], "low": [0, 40], "high": [0, 60]}, index=[0, 10])
    figure, axes = figures.gain_by_history({"meta-learning": curve})
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "10"]
    assert axes.transData.transform((0, 0))[0] < axes.transData.transform((10, 0))[0]


def test_a_frontier_goes_from_little_forgetting_to_much(drawn):
    _, axes = drawn["frontier"]
    first, second, *_ = (line for line in axes.lines if len(line.get_xdata()) == 3)
    assert list(first.get_xdata()) == [0.01, 0.1, 0.3]
    assert list(first.get_ydata()) == [0.05, 0.2, 0.1]
    assert first.get_color() == figures.look("fine-tuning").color != second.get_color()


def test_the_exact_posterior_is_dashed_and_only_the_first_of_a_method_has_color():
    curve = pd.Series([10.0, 90.0], index=[1, 10])
    names = ("exact posterior", "user heads", "naive Bayes", "user heads, from the state")
    _, axes = figures.naming(dict.fromkeys(names, curve))
    exact, method, *others = axes.lines
    assert (exact.get_color(), exact.get_linestyle()) == ("#000000", "--")
    assert method.get_color() == figures.look("user head").color
    assert method.get_linestyle() == "-"
    grays = [to_rgb(line.get_color()) for line in others]
    assert all(len(set(gray)) == 1 for gray in grays)
    assert len(set(grays)) == len({line.get_marker() for line in others}) == 2


def test_accuracy_is_drawn_by_messages_on_a_logarithmic_axis():
    curves = {"user heads": pd.Series([20.0, 60.0, 90.0], index=[1, 10, 50])}
    figure, axes = figures.naming(curves)
    figure.canvas.draw()
    assert list(axes.lines[0].get_xdata()) == [1, 10, 50]
    assert list(axes.lines[0].get_ydata()) == [20, 60, 90]
    assert axes.get_xscale() == "log"
    assert " ".join(text.get_text() for text in axes.get_xticklabels()) == "1 2 5 10 20 50"


def test_calibrated_beliefs_lie_on_the_diagonal_and_many_are_drawn_large():
    table = pd.DataFrame({"sure": [0.3, 0.8], "right": [0.3, 0.8], "share": [0.9, 0.1]})
    figure, axes = figures.reliability({"user heads": table})
    figure.canvas.draw()
    (markers,) = axes.collections
    diagonal, line = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 100]
    assert markers.get_offsets().data.tolist() == [[30, 30], [80, 80]]
    assert list(line.get_xdata()) == list(line.get_ydata()) == [30, 80]
    many, few = markers.get_sizes()
    assert many > 4 * few > 0
    assert axes.get_aspect() == 1


def test_a_learning_curve_shows_the_bounds_it_is_given():
    history = History(training=[2.0, 1.0], validation=[2.1, 1.2])
    _, axes = figures.learning_curve(history, aware=0.7)
    levels = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(levels["validation"]) == [2.1, 1.2]
    assert levels["user-aware bound"][0] == 0.7
    assert set(levels) & set(BOUNDS) == {"user-aware bound"}


def test_wrong_input_is_refused(trio):
    model, blind, _ = trio
    with pytest.raises(ValueError, match="table has no bounds"):
        figures.losses_between_bounds(
            measure.compare({"fine-tuning": model, "n-gram": blind}, "n-gram")
        )
    with pytest.raises(ValueError, match=r"points must have shape \(3, 2\), not \(2, 2\)"):
        figures.scatter_by_group(np.zeros((2, 2)), ["a", "b", "c"])
    most = len(figures.LOOKS)
    with pytest.raises(ValueError, match=f"at most {most}, not {most + 1}"):
        figures.scatter_by_group(np.zeros((most + 1, 2)), [f"group {i}" for i in range(most + 1)])
    with pytest.raises(ValueError, match="no user with a message"):
        figures.history_lengths(np.zeros(3))
