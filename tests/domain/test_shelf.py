"""A shelf: a value by its key, wherever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import Shelf


def test_without_a_source_everything_is_at_hand() -> None:
    shelf = Shelf[int]({"a": 1})

    shelf["b"] = 2
    shelf.remove("a")

    assert (shelf.get("a"), shelf.get("b"), "b" in shelf, "c" in shelf) == (None, 2, True, False)
    assert shelf.changes() == {"b": 2}
    with pytest.raises(KeyError):
        shelf["c"]


def test_what_is_not_at_hand_is_asked_of_the_source() -> None:
    shelf = Shelf[int]()
    shelf.shelve({"a": 1}.get)

    assert (shelf["a"], shelf.get("b")) == (1, None)
    assert shelf.changes() == {}


def test_what_was_removed_is_not_asked_of_the_source() -> None:
    shelf = Shelf[int]()
    shelf.shelve({"a": 1, "b": 2}.get)

    shelf.remove("a")
    shelf.remove("b")
    shelf["b"] = 3

    assert (shelf.get("a"), shelf.get("b")) == (None, 3)
    assert shelf.changes() == {"a": None, "b": 3}


def test_a_value_of_nothing_is_a_value() -> None:
    shelf = Shelf[int]({"a": 0})

    assert "a" in shelf


@given(st.lists(st.tuples(st.sampled_from(["put", "remove", "shelve"]), st.sampled_from("abc"), st.integers())))
def test_whatever_is_put_aside_meanwhile_it_answers_as_a_mapping(steps: list[tuple[str, str, int]]) -> None:
    """What the source has is what was there when the shelf was put aside, for the changes brought it there."""
    shelf, aside, model = Shelf[int](), dict[str, int](), dict[str, int]()

    for step, key, value in steps:
        match step:
            case "put":
                shelf[key] = model[key] = value
            case "remove":
                shelf.remove(key)
                model.pop(key, None)
            case _:
                for name, changed in shelf.changes().items():
                    aside.pop(name, None) if changed is None else aside.update({name: changed})
                assert aside == model
                shelf.shelve(aside.copy().get)
        assert {name: shelf.get(name) for name in "abc"} == {name: model.get(name) for name in "abc"}
