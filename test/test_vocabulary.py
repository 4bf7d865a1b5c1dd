"""Names in queries to networks with a closed vocabulary, and notes about them."""

from __future__ import annotations

import numpy as np
import pytest
from ros.known_scene import Scene, known_scene

from clip_surgery_ros.core.query import parse_query
from clip_surgery_ros.core.types import AbsentLabel, FrameResult, Query, Wanted
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.pictures.files import write_image
from clip_surgery_ros.tools.cli import main

KNOWN = Vocabulary(
    (
        *("red apple", "green apple", "cherries", "glasses", "wine glass", "hammer", "saw"),
        *("knife", "t-shirt", "nut and bolt", "bus", "computer mouse", "fire truck", "battery"),
        "dress",
    )
)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *((name, name) for name in KNOWN.names),
        *(("Hammer", "hammer"), ("HAMMERS", "hammer"), ("the hammer", "hammer")),
        *(("a hammer", "hammer"), ("my hammers", "hammer"), ("some saws", "saw")),
        *(("a photo of a hammer", "hammer"), ("the red apples", "red apple")),
        *(("cherry", "cherries"), ("knives", "knife"), ("batteries", "battery")),
        *(("buses", "bus"), ("dresses", "dress"), ("wine glasses", "wine glass")),
        *(("nuts and bolts", "nut and bolt"), ("computer mice", "computer mouse")),
        *(("T shirts", "t-shirt"), ("tshirt", "t-shirt"), ("fire_truck", "fire truck")),
        *(("firetrucks", "fire truck"), ("red-apple", "red apple")),
    ],
)
def test_spellings_of_a_known_name_are_recognised(name: str, known: str) -> None:
    assert KNOWN.known_name(name) == known


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("red hammer", "it knows 'hammer', but none of its kinds or parts"),
        ("two hammers", "it knows 'hammer'"),
        ("hammer on a table", "it knows 'hammer'"),
        ("apple", "nearest it knows 'red apple' and 'green apple'"),
        ("yellow apple", "nearest it knows 'red apple' and 'green apple'"),
        ("glass", "nearest it knows"),
        ("hamer", "'hammer' is spelt nearest"),
        ("杯子", "none of the 15 names that it knows is near"),
        ("hammer and saw", "for two write 'hammer; saw'"),
        ("x" * 5000, "does not know"),
    ],
)
def test_unknown_name_gives_a_note_with_the_nearest_name(name: str, nearest: str) -> None:
    assert KNOWN.known_name(name) == ""
    (note,) = KNOWN.unknown_notes(parse_query(name))
    assert note.startswith(f"the network does not know the word '{name[:60]}'")
    assert nearest in note
    assert len(note) < 300


DESCRIBED = Vocabulary(
    ("mug", "cup", "orange", "computer mouse", "saw"), ("red", "gray", "orange", "shiny", "metal")
)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *((name, name) for name in DESCRIBED.names),
        *(("red mug", "red mug"), ("shiny red mug", "shiny red mug"), ("the Red MUGS", "red mug")),
        *(("a photo of a shiny, red mug", "shiny red mug"), ("red-mug", "red mug")),
        *(("red shiny cups", "red shiny cup"), ("metal computer mice", "metal computer mouse")),
        *(("orange orange", "orange orange"), ("orange", "orange"), ("grey mug", "gray mug")),
        *(("mug red", ""), ("crimson mug", ""), ("red", ""), ("red of mug", ""), ("shiny", "")),
    ],
)
def test_known_attributes_may_precede_a_name(name: str, known: str) -> None:
    assert DESCRIBED.known_name(name) == known


@pytest.mark.parametrize(
    ("text", "word", "hint"),
    [
        ("crimson mug", "crimson", "it knows 'mug': ask for that"),
        ("the shiny crimson mugs", "crimson", "it knows 'shiny mug': ask for that"),
        ("two red cups", "two", "it knows 'red cup': ask for that"),
        (
            "ear of mug",
            "ear of mug",
            "it knows 'mug', but none of its kinds or parts: ask for that",
        ),
        ("shiny red", "shiny red", "it stands before a name only, as in 'shiny red mug'"),
        ("red mugg", "red mugg", "of the 5 names that it knows 'mug' is spelt nearest"),
        ("ham and pea", "ham and pea", "'ham and pea' is one label; for two write 'ham; pea'"),
    ],
)
def test_note_names_the_unknown_words_only(text: str, word: str, hint: str) -> None:
    (note,) = DESCRIBED.unknown_notes(parse_query(text))
    assert note == f"the network does not know the word '{word}'; {hint}"


WITH_OTHER_WORDS = Vocabulary(
    ("mug", "wrench"), ("red",), {"cup": "mug", "coffee mug": "mug", "spanner": "wrench"}
)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        *(("cup", "mug"), ("Red Cups", "red mug"), ("coffee mug", "mug"), ("mug", "mug")),
        *(("a spanner", "wrench"), ("red spanners", "red wrench"), ("coffee", ""), ("tea", "")),
    ],
)
def test_other_word_is_read_as_its_name(name: str, known: str) -> None:
    assert WITH_OTHER_WORDS.known_name(name) == known


def test_other_word_of_a_name_in_the_query_is_reported_and_not_a_name() -> None:
    assert WITH_OTHER_WORDS.names == ("mug", "wrench")
    query = parse_query("cup; mug")
    assert WITH_OTHER_WORDS.reading_notes(query) == ["'cup' is read as 'mug'"]
    result = WITH_OTHER_WORDS.run_known(query, answer)
    assert "'mug' is read as 'mug', which is asked for already" in result.absent[-1].reason


def test_label_with_attributes_is_one_text() -> None:
    seen: list[Query] = []
    query = parse_query("Shiny Red Mugs; gray saw|crimson cup; shiny red mug")
    result = DESCRIBED.run_known(query, lambda query: seen.append(query) or answer(query))
    assert [label.parts for label in seen[0].labels] == [("shiny red mug",), ("gray saw",)]
    assert "asked for already" in result.absent[-1].reason
    assert DESCRIBED.reading_notes(query)[0] == "'Shiny Red Mugs' is read as 'shiny red mug'"


def answer(query: Query) -> FrameResult:
    """Return a result with a different number per label; the last label is absent."""
    values = np.arange(1, len(query.labels) + 1, dtype=np.float32) / 8
    maps = values.reshape(-1, 1, 1).repeat(2, axis=1)
    return FrameResult(
        query,
        (4, 4),
        maps,
        values,
        values,
        values,
        absent=(AbsentLabel(query.names[-1], "hidden"),),
    )


def test_unknown_labels_are_not_computed_and_keep_their_indices() -> None:
    queries: list[Query] = []

    def network(query: Query) -> FrameResult:
        queries.append(query)
        return answer(query)

    query = parse_query("giraffe; Saws; zebra; the hammer", 7)
    result = KNOWN.run_known(query, network)
    assert [label.parts for label in queries[0].labels] == [("saw",), ("hammer",)]
    assert result.query == query
    assert result.presence.tolist() == [0, 0.125, 0, 0.25]
    assert result.probabilities.tolist() == [0, 0.125, 0, 0.25]
    assert result.similarity.shape == (4, 2, 1)
    assert result.similarity[[0, 2]].max() == 0
    assert result.similarity[3].max() == 0.25
    assert (result.similarity < result.thresholds[:, None, None])[[0, 2]].all()
    assert [absent.name for absent in result.absent] == ["giraffe", "zebra", "the hammer"]
    assert "does not know" in result.absent[0].reason
    assert result.absent[2].reason == "hidden"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mug|hammer", ("hammer",)),
        ("hammer|saws", ("hammer|saw",)),
        ("mug+hammer", ("hammer",)),
        ("mug|hammers+saw", ("hammer", "saw")),
    ],
)
def test_unknown_synonyms_and_parts_are_removed_from_a_label(
    text: str, parts: tuple[str, ...]
) -> None:
    queries: list[Query] = []
    result = KNOWN.run_known(
        parse_query(text), lambda query: queries.append(query) or answer(query)
    )
    assert queries[0].labels[0].parts == parts
    (absent,) = result.absent
    assert absent.name == text and absent.reason.startswith("hidden")
    assert ("'mug'" in absent.reason) == ("mug" in text)


def test_note_names_every_unknown_synonym() -> None:
    (note,) = KNOWN.unknown_notes(parse_query("mug|zebra"))
    assert "'mug'" in note and "'zebra'" in note


def test_two_spellings_of_a_name_are_one_label() -> None:
    queries: list[Query] = []
    query = parse_query("hammer; hammers")
    result = KNOWN.run_known(query, lambda query: queries.append(query) or answer(query))
    assert queries[0].names == ("hammer",)
    assert result.absent[1] == AbsentLabel(
        "hammers", "'hammers' is read as 'hammer', which is asked for already"
    )


def test_unknown_labels_can_be_removed_from_a_query() -> None:
    query = parse_query("giraffe; Saws; saw; mug|hammer")
    assert KNOWN.without_unknown(query).names == ("Saws", "mug|hammer")
    assert Vocabulary().without_unknown(query) == query


def test_open_vocabulary_does_not_change_the_query() -> None:
    query = parse_query("the hammers; giraffe")
    queries: list[Query] = []
    Vocabulary().run_known(query, lambda query: queries.append(query) or answer(query))
    assert queries == [query]
    assert Vocabulary().unknown_notes(query) == []
    assert Vocabulary().reading_notes(parse_query("mug and saw")) != []


@pytest.fixture(scope="module")
def scene() -> Scene:
    return known_scene()


def test_demo_finds_an_object_by_any_spelling_among_unknown_labels(
    networks: LoadedNetworks, scene: Scene
) -> None:
    name = scene.names[0]
    pipeline = networks.pipeline(Config.from_values())
    plain = pipeline.run(scene.image, parse_query(name)).segments
    encoded = networks.text_counts.encoded
    query = parse_query(f"giraffe; The {name.upper()}; wooden {name}; zebra|{name}s")
    result = pipeline.run(scene.image, query)
    assert plain and len(result.segments) == len(plain)
    for found, expected in zip(result.segments, plain, strict=True):
        assert (found.label, found.name) == (1, f"The {name.upper()}")
        assert (found.score, found.box) == (expected.score, expected.box)
    reasons = {absent.name: absent.reason for absent in result.absent}
    assert "does not know the word 'giraffe'" in reasons["giraffe"]
    assert f"it knows '{name}'" in reasons[f"wooden {name}"]
    assert "asked for already" in reasons[f"zebra|{name}s"]
    assert networks.text_counts.encoded == encoded


def test_query_of_unknown_names_runs_no_network(networks: LoadedNetworks, scene: Scene) -> None:
    result = networks.pipeline(Config.from_values()).run(
        scene.image, parse_query("giraffe; zebra"), Wanted(plain_similarity=True)
    )
    assert not result.stage_seconds and not result.segments
    assert [absent.name for absent in result.absent] == ["giraffe", "zebra"]
    assert result.similarity.shape[0] == 2


def test_segment_command_reports_unknown_and_found_labels(
    tmp_path, capsys: pytest.CaptureFixture[str], scene: Scene
) -> None:
    write_image(str(tmp_path / "scene.png"), scene.image)
    query = f'["giraffe", "{scene.names[0]}s"]'
    assert main(["segment", str(tmp_path / "scene.png"), query]) == 0
    printed = capsys.readouterr()
    assert "does not know the word 'giraffe'" in printed.out
    assert f"found      {scene.names[0]}s" in printed.out
    assert f"'{scene.names[0]}s' is read as '{scene.names[0]}'" in printed.err
