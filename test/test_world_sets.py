"""Sets of the rendered world: what each shows and asks, and how its views are kept."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.vocabulary import Vocabulary
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.evaluation.world_scenes import WorldScenes, example_of
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.tools.evaluate import OWN_ABSENT
from clip_surgery_ros.tools.truth import scenes
from clip_surgery_ros.training.card import measure_networks
from clip_surgery_ros.training.export import presence_cosines
from clip_surgery_ros.world.asking import Asks, Phrase, Thing, ask, claims, is_there, swaps
from clip_surgery_ros.world.kept_views import VERSION, KeptView, render_all
from clip_surgery_ros.world.objects import NAMES
from clip_surgery_ros.world.seeds import split_of
from clip_surgery_ros.world.sets import SETS, SetView
from clip_surgery_ros.world.words import all_forms

SIZE = (160, 120)
VIEWS = 2
RECORDED = {
    "cluttered": [
        *(("bread", 309), ("dice", 22), ("phone", 251), ("phone", 116), ("key", 12)),
        *(("tomato", 70), ("dice", 17), ("spatula", 132), ("egg", 27), ("tomato", 79)),
        *(("computer mouse", 88), ("scissors", 111), ("hammer", 129)),
    ],
    "several": [
        *(("cone", 66), ("banana", 129), ("bottle", 238), ("bottle", 89), ("teapot", 284)),
        ("bottle", 133),
    ],
}
"""Objects of the first view of two sets in version 2, and their pixels."""


@lru_cache
def seen(name: str, split: str = "development") -> tuple[SetView, ...]:
    """The first views of a set, small."""
    return tuple(SETS[name].view(split, index, SIZE) for index in range(VIEWS))


def asked(view: SetView, name: str, absent: int = 2) -> Example:
    """The example of a view as the sets ask it."""
    rng = np.random.default_rng([view.seed, 5])
    return example_of(view, ask(SETS[name].asks, view.things, view.there(), rng, absent))


def meant(label: str, view: SetView) -> list[int]:
    """Instances that a label means, read word by word."""
    finishes = {"shiny": "glossy", "glossy": "glossy", "matte": "matte"}
    finishes |= {"metal": "metallic", "metallic": "metallic"}
    forms = {form: name for name in NAMES for form in all_forms(name)}
    words, colour, finish = label.split(" "), "", ""
    if words[0] in finishes:
        finish = finishes[words.pop(0)]
    if len(words) > 1 and " ".join(words) not in forms:
        colour = words.pop(0)
    return [
        thing.instance
        for thing in view.things
        if thing.name == forms[" ".join(words)]
        and colour in ("", thing.colour)
        and finish in ("", thing.finish)
    ]


@pytest.mark.parametrize("name", SETS)
def test_labels_mean_what_they_say(name: str) -> None:
    for view in seen(name):
        example = asked(view, name)
        there = {thing.instance: thing for thing in view.there()}
        for label in example.present:
            union = np.any(example.masks_of(label), axis=0)
            expected = [instance for instance in meant(label, view) if instance in there]
            assert expected and (union == np.isin(view.ids, expected)).all()
            assert not (union & example.ignored).any()
        for label in example.absent:
            assert meant(label, view) == [] and example.masks_of(label) == []
        hidden = [thing.instance for thing in view.things if thing.instance not in there]
        assert (example.ignored == np.isin(view.ids, hidden)).all()
        assert len(set(example.queried)) == len(example.queried) > 0
        assert view.rgb.shape == (SIZE[1], SIZE[0], 3)


def test_each_set_shows_its_difficulty() -> None:
    for view in seen("single"):
        assert len(view.things) == 1
    for view in seen("cluttered"):
        assert len(view.there()) >= 6
    for view in seen("occluded"):
        assert any(0.35 <= thing.visible < 0.75 for thing in view.there())
    for view in seen("several"):
        assert max(Counter((one.name, one.colour) for one in view.there()).values()) >= 2
    for view in seen("small"):
        assert all(6 <= one.pixels**0.5 <= 15 for one in view.there())
    for view in seen("large"):
        largest = max(view.there(), key=lambda one: one.pixels)
        rows, columns = np.nonzero(view.ids == largest.instance)
        assert 0.4 * SIZE[1] < max(np.ptp(rows), np.ptp(columns)) <= SIZE[1]
    for view in seen("cut"):
        cut = [one for one in view.there() if one.visible <= 0.85]
        borders = [view.ids[0], view.ids[-1], view.ids[:, 0], view.ids[:, -1]]
        assert {one.instance for one in cut} & set(np.concatenate(borders).tolist())


def test_twins_and_same_colour_are_asked_with_their_colours() -> None:
    for view in seen("twins"):
        pairs = {(one.name, one.colour) for one in view.there()}
        assert len({name for name, _ in pairs}) < len(pairs)
    for view in seen("same_colour"):
        pairs = {(one.name, one.colour) for one in view.there() if one.colour}
        assert len({colour for _, colour in pairs}) < len(pairs)
    for name in ("twins", "same_colour"):
        for view in seen(name):
            for label in asked(view, name).present:
                things = [one for one in view.things if one.instance in meant(label, view)]
                assert len({one.colour for one in things}) == 1
                assert things[0].colour in label.split()


def test_a_swap_is_a_thing_that_is_there_in_the_colour_of_another() -> None:
    for view in seen("binding"):
        example = asked(view, "binding")
        assert example.present == () and example.misleading == set(example.absent)
        for label in example.absent:
            colour, _, form = label.partition(" ")
            assert colour in {one.colour for one in view.there()}
            assert meant(form, view)
    for view in seen("absent"):
        assert asked(view, "absent").present == ()
        assert len(asked(view, "absent", 5).absent) == 5


MUG, BOWL = Thing(1, "mug", "blue", "matte", 900, 1.0), Thing(2, "bowl", "red", "glossy", 900, 1.0)


def test_swaps_of_a_blue_mug_and_a_red_bowl() -> None:
    def texts(*others: Thing) -> set[str]:
        return {each.text for each in swaps([MUG, BOWL, *others], [MUG, BOWL])}

    assert texts() == {"red mug", "blue bowl"}
    hidden = Thing(3, "mug", "red", "matte", 0, 0.0)
    assert texts(hidden) == {"blue bowl"}


def test_what_a_person_would_call_so_is_not_absent() -> None:
    """A traffic cone is a cone, though labels of cones do not mean it."""
    teacup = Thing(1, "teacup", "orange", "matte", 900, 1.0)
    assert Phrase("orange mug", "mug", "orange").might_mean(teacup)
    cone = Thing(1, "traffic cone", "orange", "matte", 900, 1.0)
    label = Phrase("orange cone", "cone", "orange")
    assert label.might_mean(cone) and not label.means(cone)
    assert not Phrase("red cone", "cone", "red").might_mean(cone)
    said = claims([cone], [cone], np.random.default_rng(0))
    assert {"traffic cone", "road cone"} < {each.text for each in said.present}
    assert "cone" not in {each.name for each in said.absent if each.colour in ("", "orange")}


def test_more_absent_labels_are_added_behind_fewer() -> None:
    few, many = (
        ask(Asks.ANY, [MUG, BOWL], [MUG], np.random.default_rng(3), count) for count in (2, 6)
    )
    assert few.present == many.present and few.absent == many.absent[:2]
    assert len({each.name for each in many.absent} - {"mug", "bowl"}) == 6


@pytest.mark.parametrize(
    ("visible", "pixels", "there"),
    [(0.35, 144, True), (0.34, 5000, False), (1.0, 143, False), (0.9, 400, True)],
)
def test_an_object_is_there_if_a_third_of_it_and_twelve_pixels_across_are_seen(
    visible: float, pixels: int, there: bool
) -> None:
    assert is_there(Thing(1, "mug", "", "", pixels, visible), 240) == there


def test_claims_have_names_phrases_and_phrases_that_nearly_are_right() -> None:
    said = claims([MUG, BOWL], [MUG, BOWL], np.random.default_rng(0))
    present = {each.text for each in said.present}
    assert {"mug", "cup", "coffee mug", "bowl"} < present
    assert any(text.startswith("blue ") for text in present)
    assert any(text.startswith("matte blue ") for text in present)
    assert all(any(each.means(one) for one in (MUG, BOWL)) for each in said.present)
    assert not any(each.means(one) for each in said.absent for one in (MUG, BOWL))
    wrong = {(each.name, each.colour) for each in said.absent if each.colour}
    assert {("mug", "red"), ("bowl", "blue")} < wrong
    assert any(name not in ("mug", "bowl") and colour == "blue" for name, colour in wrong)
    assert {each.name for each in said.absent if not each.colour} == set(NAMES) - {
        *("mug", "bowl", "teacup")
    }


def test_what_is_hidden_is_claimed_neither_way() -> None:
    said = claims([MUG, BOWL], [MUG], np.random.default_rng(0))
    named = {each.name for each in (*said.present, *said.absent) if not each.colour}
    assert "bowl" not in named
    assert Phrase("red bowl", "bowl", "red") not in said.absent


def test_a_network_of_this_world_reads_every_label_as_it_is() -> None:
    vocabulary = Vocabulary(WorldScenes.names, WorldScenes.attributes)
    for name in ("mixed", "twins", "binding"):
        for view in seen(name):
            for label in asked(view, name).queried:
                read = vocabulary.known_name(label)
                assert read and meant(read, view) == meant(label, view)


def test_sets_with_as_many_absent_names_as_are_wanted_are_compared_over_their_number() -> None:
    for name in SETS:
        present = SETS[name].asks is not Asks.NOTHING
        varies = present and all(len(asked(view, name, 5).absent) == 5 for view in seen(name))
        assert varies == (name not in OWN_ABSENT), name


def test_views_of_a_set_follow_from_split_and_number_and_share_no_seed() -> None:
    again = SETS["twins"].view("development", 1, SIZE)
    assert (again.rgb == seen("twins")[1].rgb).all() and again.things == seen("twins")[1].things
    every = [view for name in SETS for view in seen(name)] + list(seen("single", "held_out"))
    assert len({view.seed for view in every}) == len(every)
    assert split_of(every[0].seed) == "development" and split_of(every[-1].seed) == "held_out"


def test_kept_views_are_those_of_this_version() -> None:
    """Raise ``kept_views.VERSION`` along with this record, or old views are measured on."""
    assert VERSION == 2
    for name, recorded in RECORDED.items():
        things = seen(name)[0].things
        assert [thing.name for thing in things] == [name for name, _ in recorded]
        pixels = [thing.pixels for thing in things]
        assert pixels == pytest.approx([count for _, count in recorded], rel=0.1, abs=3)


def test_views_are_rendered_once_and_then_read_from_disk(tmp_path: Path) -> None:
    kept = KeptView(tmp_path, "single", "development", 0, SIZE)
    first = kept.read()
    expected = seen("single")[0]
    assert (first.rgb == expected.rgb).all() and (first.ids == expected.ids).all()
    assert first.things == expected.things and first.seed == expected.seed
    picture = next(file for file in tmp_path.rglob("*.png") if "ids" not in file.name)
    cv2.imwrite(str(picture), np.full((*SIZE[::-1], 3), 7, np.uint8))
    assert (kept.read().rgb == 7).all()
    picture.unlink()
    assert (kept.read().rgb == expected.rgb).all()
    for damaged in (picture, picture.with_suffix(".json")):
        damaged.write_text("{}")
        with pytest.raises(WorldError, match=r"view 0 .* damaged; delete"):
            kept.read()
        damaged.unlink()
        kept.read()


def test_views_rendered_by_several_processes_are_the_same(tmp_path: Path) -> None:
    kept = [KeptView(tmp_path, "single", "development", index, SIZE) for index in range(VIEWS)]
    assert len(list(render_all(kept, 2))) == VIEWS
    pictures = [cv2.imread(str(file)) for file in sorted(tmp_path.rglob("?????.png"))]
    assert all(
        (p == v.rgb[..., ::-1]).all() for p, v in zip(pictures, seen("single"), strict=True)
    )


def test_a_source_of_scenes_gives_examples_and_claims_of_the_same_pictures(tmp_path: Path) -> None:
    source = WorldScenes(tmp_path, SIZE)
    (example,) = source.examples("single", "development", 1, 3)
    (known,) = source.claims("single", "development", 1)
    assert (example.image == known.image).all() and len(example.absent) == 3
    assert len(known.present) > 0 and len(known.absent) > 60
    assert all(len(known.masks_of(label)) == 1 for label in known.present)
    assert set(source.sets) == set(SETS)
    assert "mug" in source.names and source.other_words["cup"] == "mug"


def test_command_line_keeps_views_below_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    (example,) = scenes("single", "held_out", 1, absent=4)()
    assert example.image.shape == (240, 320, 3) and len(example.absent) == 4
    kept = sorted((tmp_path / "world_views").rglob("*.*"))
    assert [file.name for file in kept] == ["00000.json", "00000.png", "00000_ids.png"]


class Binding(WorldScenes):
    """One set, to be quick."""

    sets = ("binding",)


def test_presence_is_fitted_on_names_phrases_and_wrong_colours(
    tmp_path: Path, networks: LoadedNetworks
) -> None:
    source = Binding(tmp_path, SIZE)
    present, absent = presence_cosines(networks.clip, source, 1, windows=False)
    (known,) = source.claims("binding", "development", 1)
    words = {*source.names, *source.other_words}
    names = [label for label in known.present if label in words]
    assert sorted(map(len, present)) == sorted([len(names), len(known.present) - len(names)])
    assert len(absent) == 3 and len(known.misleading) in map(len, absent)
    assert sum(map(len, absent)) == len(known.absent)


def test_card_measures_scenes_of_the_world(tmp_path: Path, networks: LoadedNetworks) -> None:
    """The shipped networks know nothing of it; all that is there is counted all the same."""
    source = Binding(tmp_path, SIZE)
    pipeline = networks.pipeline(Config.from_values())
    measured = measure_networks(networks.clip, networks.sam, pipeline, source, 1)
    (example,) = source.examples("mixed", "held_out", 1)
    labels = len(example.present)
    assert len(measured.surgery_inside) == len(measured.text_ious) == labels
    assert len(measured.click_ious) == len(example.masks)
    assert 0 < len(measured.misleading) < len(measured.absent)
    assert "present against wrong colours, AUROC" in [name for name, _, _ in measured.table()]
