"""Parsing of valid and hostile text queries."""

from __future__ import annotations

import math

import pytest

from clip_surgery_ros.core.errors import QueryError
from clip_surgery_ros.core.query import parse_query, query_of, synonyms


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("red mug; screwdriver", ("red mug", "screwdriver")),
        ("a,b;c\nd", ("a", "b", "c", "d")),
        ("  red \t mug , ,; ", ("red mug",)),
        ("Mug; mug; MUG", ("Mug",)),
        ("", ()),
        (" ;,\n ", ()),
        ("+", ()),
        ("tasse; 杯子; كوب; ☕", ("tasse", "杯子", "كوب", "☕")),
    ],
)
def test_labels_are_split_trimmed_and_unique(text: str, names: tuple[str, ...]) -> None:
    assert parse_query(text).names == names


def test_plus_joins_parts_into_one_label() -> None:
    (label,) = parse_query(" bench + person ").labels
    assert (label.name, label.parts) == ("bench+person", ("bench", "person"))


def test_query_keeps_the_sequence_number() -> None:
    assert parse_query("mug", 7).sequence == 7


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x" * 30_000, "characters"),
        ("; ".join(f"label {i}" for i in range(300)), "300 labels"),
        ("mug\x00", "control characters"),
        ("mug\x1b[2J", "control characters"),
    ],
)
def test_invalid_query_is_a_query_error(text: str, error: str) -> None:
    with pytest.raises(QueryError, match=error):
        parse_query(text)


def test_thresholds_are_assigned_in_label_order() -> None:
    query = query_of(["mug", "cup"], [0.2, math.nan])
    assert [label.threshold for label in query.labels] == [0.2, None]


@pytest.mark.parametrize("thresholds", [[0.1], [0.1, 7.0], [math.inf, 0.0]])
def test_invalid_thresholds_are_rejected(thresholds: list[float]) -> None:
    with pytest.raises(QueryError, match="threshold"):
        query_of(["mug", "cup"], thresholds)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mug | coffee  cup", ("mug|coffee cup",)),
        ("mug || cup |mug", ("mug|cup",)),
        ("cap + mug|cup", ("cap", "mug|cup")),
    ],
)
def test_bar_separates_synonyms(text: str, parts: tuple[str, ...]) -> None:
    (label,) = parse_query(text).labels
    assert label.parts == parts
    assert label.name == "+".join(parts)
    assert synonyms(parts[-1])[0] == "mug"


def test_separators_without_names_give_no_labels() -> None:
    assert parse_query("| ; + | +;|").labels == ()


def test_synonyms_count_towards_the_limit_of_names() -> None:
    with pytest.raises(QueryError, match="1001 names"):
        query_of(["|".join(f"n{i}" for i in range(1001))])
