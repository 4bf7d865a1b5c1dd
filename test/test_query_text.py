"""Query texts in the syntaxes of users and other tools."""

from __future__ import annotations

import json
import time

import pytest

from clip_surgery_ros.core.errors import ConfigError, QueryError
from clip_surgery_ros.core.query import parse_query, query_of, query_of_names, split_hint
from clip_surgery_ros.core.query_text import as_entry
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.parameters.thresholds import is_parsable, parse_thresholds

MUG_SAW = ("mug", "saw")
LISTS = (
    *('["mug", "saw"]', "['mug', 'saw']", "[mug, saw]", '("mug", "saw")', "(mug, saw)"),
    *('{"mug", "saw"}', "{'mug', 'saw'}", '[["mug", "saw"]]', '[["mug"], ["saw"]]'),
    *('["mug", "saw"];', '["mug",\n "saw",\n]', '["mug."; "saw."]', '["mug", "saw", ""]'),
    *('"mug", "saw"', "'mug', 'saw'", '"mug","saw"', "`mug`, `saw`", "\"mug\", 'saw'"),
    *("“mug”, “saw”", "„mug“; „saw“", "”mug”, ”saw”", "«mug», «saw»", "‘mug’, ‘saw’"),
    *("「mug」、「saw」", "『mug』；『saw』", '"mug", saw', "mug, 'saw'"),
    *('"mug; saw"', "'mug, saw'", "\"'mug, saw'\"", '"[mug, saw]"', '\'["mug", "saw"]\''),
    *(
        "mug . saw .",
        "mug . saw",
        "mug .saw .".replace(" .saw", " . saw"),
        "mug. saw.",
        "mug.saw.",
    ),
    *('"mug" . "saw" .', '"mug . saw ."', "mug .  saw  .  ", "mug. saw . ", "mug . saw..."),
    *("mug，saw", "mug；saw", "mug、saw", "mug､saw", "mug。saw。", "mug，saw。", "mug﹐saw"),
    *("mug، saw", "mug؛ saw", "mug\rsaw", "mug\r\nsaw", "mug\u2028saw", "mug\\nsaw"),
    *("- mug\n- saw", "* mug\n* saw", "• mug\n• saw", "• mug • saw", "– mug\n– saw"),
    *("1. mug\n2. saw", "1) mug\n2) saw", "(1) mug, (2) saw", "0: mug; 1: saw", "1. mug; 2. saw"),
    *("mug, saw.", "mug.\nsaw.", "mug; saw…", "mug,, saw,", " ;mug;;saw; ", "\ufeffmug, saw"),
    *("[ 'mug' , 'saw' ]", "(mug), (saw)", "['mug'], ['saw']", '["mug"; "saw"].'),
)


@pytest.mark.parametrize("text", LISTS)
def test_list_syntax_of_other_tools_is_read(text: str) -> None:
    assert parse_query(text).names == MUG_SAW


@pytest.mark.parametrize(
    "name",
    [
        *("St. Bernard", "no. 2 pencil", "Dr. Pepper can", "Mr. Potato Head", "J. Crew bag"),
        *("1.5 l bottle", "7 up", "9.5 mm wrench", "U.S.A.", "U.S. flag", "node.js sticker"),
        *("amazon.com box", "apple inc.", "vol. 3 of a book", "7-up", "t-shirt", "50 % off sign"),
        *("men's shoe", "the kids' toys", "rock 'n' roll poster", "'60s car", "jack-o'-lantern"),
        *('24" monitor', "6' ladder", "6' 2\" door", 'book "Dune"', "mug (red)", "(red) mug"),
        *("mug (red, large)", "salt and pepper shaker", "nut and bolt", "black & white cat"),
        *("monitor 16:9", "x=y", "tv/monitor", "C# book", "M&M's", "Yahoo!", "what?", "-1", "0"),
        *("no 1 pencil", "etc", "☕", "杯子", "كوب", "café", "null", "true", "<b>mug</b>"),
        *("baseball_(ball)", "mug [red]", "${HOME}", "$(reboot)", "\\x00", "A4 paper", "No. 5"),
    ],
)
def test_punctuation_inside_a_name_is_kept(name: str) -> None:
    assert parse_query(name).names == (name,)
    assert parse_query(f"{name}; saw").names == (name, "saw")
    assert query_of([name, "saw"]).names == (name, "saw")
    assert parse_query(json.dumps([name, "saw"])).names == (name, "saw")
    assert parse_query(json.dumps([name, "saw"], ensure_ascii=False)).names == (name, "saw")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("mug. saw", "full stop"),
        ("iphone 7. mug", "full stop"),
        ('["mug", "saw"', "bracket"),
        ('mug", "saw"]', "quote|bracket"),
        ("labels: [mug, saw]", "bracket"),
        ('{"labels": ["mug", "saw"]}', "quote"),
        ('{"mug": 0.2, "saw": 0.3}', "quote"),
        ("{mug: 0.2, saw: 0.3}", "ends in a number"),
        ("mug=0.2; saw=0.3", "ends in a number"),
        ('"mug', "quote"),
        ('mug"', "quote"),
        ("'mug; saw", "quote"),
        ("“mug, saw", "quote"),
        ('"mug" "saw"', "quote"),
        ('"mug" and "saw"', "quote"),
        ("mug (red", "bracket"),
        ("saw) mug", "bracket"),
    ],
)
def test_ambiguous_text_is_rejected_with_a_correction(text: str, error: str) -> None:
    for ask in (parse_query, lambda label: query_of([label])):
        with pytest.raises(QueryError, match=error) as raised:
            ask(text)
        assert "'mug; saw'" in str(raised.value)
        assert len(str(raised.value)) < 300


def test_suggested_corrections_are_accepted() -> None:
    assert parse_query('"mug. saw"').names == ("mug. saw",)
    assert parse_query('"mug. saw"; axe').names == ("mug. saw", "axe")
    assert parse_query("mug; saw").names == MUG_SAW


@pytest.mark.parametrize(
    "text", ["", " ", "[]", "{}", '""', "''", "'", ".", "...", "- ", "[[]]", '[""]']
)
def test_punctuation_without_a_name_is_an_empty_query(text: str) -> None:
    assert parse_query(text).names == ()


def test_quoted_name_can_contain_separators() -> None:
    assert parse_query('"bed, single"; mug').names == ("bed, single", "mug")
    assert parse_query('["bed, single"]').names == ("bed, single",)
    assert query_of(['"bed, single"']).names == ("bed, single",)


def test_json_escapes_are_decoded() -> None:
    assert parse_query('["caf\\u00e9", "24\\" monitor"]').names == ("café", '24" monitor')


def test_quotes_of_synonyms_and_parts_are_removed() -> None:
    assert parse_query('"mug" | "coffee cup"; “a” + “b”').names == ("mug|coffee cup", "a+b")
    assert parse_query("mug｜cup；a＋b").names == ("mug|cup", "a+b")
    assert parse_query('"mug|cup"').names == ("mug|cup",)


def test_labels_of_one_list_entry_share_its_threshold() -> None:
    query = query_of(["mug, saw", "'axe'", "key . lock ."], [0.1, 0.2, 0.3])
    labels = [(label.name, label.threshold) for label in query.labels]
    assert labels == [("mug", 0.1), ("saw", 0.1), ("axe", 0.2), ("key", 0.3), ("lock", 0.3)]
    with pytest.raises(QueryError, match="1 labels came with 2 thresholds"):
        query_of(["mug, saw"], [0.1, 0.2])


@pytest.mark.parametrize(
    "name",
    [
        *("mug", "St. Bernard", "bed, single", "mug. saw", "1. mug", "x=0.2", "[mug", "a|b, c"),
        *("a+b", '24" monitor', 'a "b" c, d', "back\\slash, here", "杯子、锯子", "mug ("),
    ],
)
def test_as_entry_writes_a_name_that_is_read_back(name: str) -> None:
    assert query_of([as_entry(name), "axe"]).names == (name, "axe")


def test_query_of_names_does_not_parse_names() -> None:
    names = ("bed, single", '"mug"', "mug. saw", "x=0.2", "[mug")
    assert query_of_names(names).names == names


def test_and_joins_one_label_with_a_hint() -> None:
    assert split_hint("mug and saw") == "'mug and saw' is one label; for two write 'mug; saw'"
    assert split_hint("mug & saw") and split_hint("mug or saw")
    assert not split_hint("sandwich") and not split_hint("android")


def test_parameters_use_the_query_syntax() -> None:
    assert Config.from_values({"default_query": '["mug", "saw"]'}).default_query
    with pytest.raises(ConfigError, match=r"default_query cannot be used.*full stop"):
        Config.from_values({"default_query": "mug. saw"})
    assert parse_thresholds("\"red mug\"=0.21； 'saw' = 0.2。") == {"red mug": 0.21, "saw": 0.2}
    for text in ("mug . saw . = 0.2", '{"mug": 0.2}', '"a, b"=0.2'):
        with pytest.raises(ConfigError, match="label_thresholds has"):
            parse_thresholds(text)


@pytest.mark.parametrize("name", ["bed, single", '"mug"', "axe. bed", "mug、saw", "[mug"])
def test_name_that_changes_when_parsed_is_not_parsable(name: str) -> None:
    assert not is_parsable(name)
    assert is_parsable("Red mug") and is_parsable("no. 2 pencil") and is_parsable("x=y")


@pytest.mark.parametrize(
    "piece",
    ['"a,', "[", "(", '"', "'", ".", "a. ", "a (", "\\", "=.1!", '"a" ', "x'x", "1. ", "- "],
)
def test_long_hostile_text_is_processed_fast(piece: str) -> None:
    start_s = time.process_time()
    try:
        parse_query(piece * (19_000 // len(piece)))
    except QueryError as error:
        assert len(str(error)) < 400
    assert time.process_time() - start_s < 2.0
