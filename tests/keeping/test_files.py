import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from companion.keeping import files
from companion.keeping.files import CorruptedFileError, load_arrays, save_arrays

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([1, 2], np.int32)}
numbers = hnp.arrays(
    st.sampled_from([np.float32, np.int32, np.float64]), hnp.array_shapes(min_dims=0, min_side=0)
)


@settings(max_examples=30, deadline=None)
@given(arrays=st.dictionaries(st.text("abc.", min_size=1), numbers, max_size=4))
def test_what_is_saved_comes_back(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("files") / "x.safetensors"
    save_arrays(path, arrays, "thing", {"n": 3})
    loaded, metadata = load_arrays(path, "thing")
    assert metadata == {"n": 3}
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_transposed_arrays_come_back_in_order(tmp_path):
    save_arrays(tmp_path / "x", {"t": ARRAYS["a"].T}, "thing", {})
    np.testing.assert_array_equal(load_arrays(tmp_path / "x", "thing")[0]["t"], ARRAYS["a"].T)


def test_same_content_gives_same_bytes(tmp_path):
    for name in ("x", "y"):
        save_arrays(tmp_path / name, ARRAYS, "thing", {"b": 1, "a": [2, "u"]})
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


@settings(max_examples=50, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_found(tmp_path_factory, place):
    path = tmp_path_factory.mktemp("files") / "x"
    save_arrays(path, ARRAYS, "thing", {"n": 3})
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content))])
    with pytest.raises(CorruptedFileError):
        load_arrays(path, "thing")


@settings(max_examples=50, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("files") / "x"
    save_arrays(path, ARRAYS, "thing", {"n": 3})
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        loaded, metadata = load_arrays(path, "thing")
    except CorruptedFileError:
        return
    assert metadata == {"n": 3}  # the bit stood in white space
    assert files.fingerprint(loaded) == files.fingerprint(ARRAYS)


def test_metadata_is_covered_by_the_checksum(tmp_path):
    save_arrays(tmp_path / "x", ARRAYS, "thing", {"n": 3})
    content = (tmp_path / "x").read_bytes()
    assert content.count(b'n\\\\\\": 3') == 1
    (tmp_path / "x").write_bytes(content.replace(b'n\\\\\\": 3', b'n\\\\\\": 4'))
    with pytest.raises(CorruptedFileError, match="altered"):
        load_arrays(tmp_path / "x", "thing")


def test_foreign_missing_and_wrong_files_are_told_apart(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError, match="no file"):
        load_arrays(tmp_path / "x", "thing")
    save_file(ARRAYS, tmp_path / "x")
    with pytest.raises(CorruptedFileError, match="not written by this package"):
        load_arrays(tmp_path / "x", "thing")
    save_arrays(tmp_path / "x", ARRAYS, "vector", {})
    with pytest.raises(ValueError, match="holds a vector, not a thing"):
        load_arrays(tmp_path / "x", "thing")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere/x cannot be written: there is no folder"):
        save_arrays(tmp_path / "nowhere" / "x", ARRAYS, "thing", {})


def test_nothing_is_left_behind_where_writing_fails(tmp_path, monkeypatch):
    save_arrays(tmp_path / "x", ARRAYS, "thing", {"n": 3})

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        save_arrays(tmp_path / "x", {"a": np.zeros(1)}, "thing", {})
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert load_arrays(tmp_path / "x", "thing")[1] == {"n": 3}


def test_fingerprint_sees_names_types_shapes_and_numbers():
    a = ARRAYS["a"]
    variants = [{"a": a}, {"b": a}, {"a": a.astype(float)}, {"a": a.T.copy()}, {"a": a + 1}]
    assert len({files.fingerprint(v) for v in variants}) == len(variants)
    assert files.fingerprint(dict(reversed(ARRAYS.items()))) == files.fingerprint(ARRAYS)
