"""``evaluate --space``: its views, the recipes that it compares, and its figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.core.query import query_of_names
from clip_surgery_ros.evaluation import space
from clip_surgery_ros.evaluation.outcome import iou
from clip_surgery_ros.evaluation.space import SpaceOutcome, measure_view
from clip_surgery_ros.evaluation.space_detections import (
    MASKS,
    PIPELINE,
    PipelineMasks,
    changed,
    measured_objects,
)
from clip_surgery_ros.evaluation.space_recipes import (
    RECIPES,
    UP,
    Place,
    Sight,
    clusters,
    lifted,
    thinned,
)
from clip_surgery_ros.evaluation.space_report import OWN, markdown, summaries, write
from clip_surgery_ros.networks.factory import LoadedNetworks
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.space.depth import DepthImage, Intrinsics
from clip_surgery_ros.space.lifting import LiftSettings
from clip_surgery_ros.space.objects import lift_all
from clip_surgery_ros.space.reasons import Reason
from clip_surgery_ros.space.transforms import Rigid
from clip_surgery_ros.tools.cli import main
from clip_surgery_ros.world.depth_views import (
    SENSORS,
    UNIT,
    DepthView,
    KeptDepthView,
    make_depth_view,
    with_holes,
)

SIZE = (160, 120)
CAMERA = Intrinsics(500.0, 500.0, 159.5, 119.5, 320, 240)
DOWN = Rigid.from_matrix(np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1.0], [0, 0, 0, 1]]))
"""A camera one metre above the origin of the world that looks down."""


@lru_cache
def seen() -> DepthView:
    """A small view."""
    return make_depth_view("development", 0, SIZE)


def board(near: float = 0.9, far: float = 1.0) -> Sight:
    """A board of 0.18 x 0.072 m, 0.1 m above a table, from above."""
    metres = np.full((240, 320), far, np.float32)
    mask = np.zeros((240, 320), np.bool_)
    mask[100:140, 110:210] = True
    metres[mask] = near
    return Sight(
        DepthImage(metres, CAMERA), mask, np.array([[159, 119]]), np.zeros_like(mask), DOWN
    )


def test_a_view_has_the_same_scene_with_three_depth_cameras() -> None:
    view = seen()
    assert tuple(view.depth) == SENSORS
    exact, moderate, bad = (view.depth[sensor] for sensor in SENSORS)
    assert (exact > 0).mean() > 0.99
    both = (moderate > 0) & (exact > 0)
    assert 0.0005 < float(np.median(np.abs(moderate - exact)[both])) < 0.02
    assert (bad == 0).mean() > (moderate == 0).mean() + 0.05


def test_holes_take_their_share_in_patches() -> None:
    depth = np.ones((240, 320), np.float32)
    holes = with_holes(depth, 0.4, np.random.default_rng(0)) == 0
    assert holes.mean() == pytest.approx(0.4, abs=0.01)
    beside = holes[:, 1:] == holes[:, :-1]
    assert beside.mean() > 0.9  # of single pixels only 0.52 have a neighbour of their kind


def test_depth_views_are_rendered_once_and_then_read_from_disk(tmp_path: Path) -> None:
    kept = KeptDepthView(tmp_path, "development", 0, SIZE)
    assert not kept.is_kept
    view, expected = kept.read(), seen()
    assert kept.is_kept
    assert (view.ids == expected.ids).all() and view.camera.focal == expected.camera.focal
    np.testing.assert_array_equal(view.camera.pose, expected.camera.pose)
    for sensor in SENSORS:
        np.testing.assert_allclose(view.depth[sensor], expected.depth[sensor], atol=0.51 * UNIT)
    for one, other in zip(view.objects, expected.objects, strict=True):
        assert (one.name, one.pixels) == (other.name, other.pixels)
        np.testing.assert_array_equal(one.upright.pose, other.upright.pose)
    changed_at = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*")}
    kept.render()
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*")} == changed_at


@pytest.mark.parametrize("name", ["00000.json", "00000_ids.png", "00000_bad.png"])
def test_damaged_depth_view_is_named(tmp_path: Path, name: str) -> None:
    kept = KeptDepthView(tmp_path, "development", 0, SIZE)
    kept.render()
    (kept.own_folder / name).write_text("{}")
    with pytest.raises(WorldError, match=r"view 0 .* damaged; delete"):
        kept.read()


def test_masks_are_grown_and_shrunk_by_whole_pixels() -> None:
    mask = board().mask
    assert changed(mask, 6).sum() == 52 * 112
    assert changed(mask, -6).sum() == 28 * 88
    assert (changed(mask, 0) == mask).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_finds_the_top_of_a_board(recipe: str) -> None:
    place = RECIPES[recipe](board())
    assert place is not None
    np.testing.assert_allclose(place.centre, [0, 0, 0.1], atol=0.004)
    if place.size is not None:
        np.testing.assert_allclose(place.size[:2], [0.072, 0.18], atol=0.03)


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_recipe_finds_a_place_without_depth(recipe: str) -> None:
    assert RECIPES[recipe](board(near=0.0)) is None


def test_common_recipes_differ_as_their_sources_say() -> None:
    """A mask of which more than half is wall, 0.6 m behind the clicked board."""
    sight = board()
    sight.depth.metres[~sight.mask] = 1.5
    wide = replace(sight, mask=changed(sight.mask, 30))
    ranges = {}
    for name, recipe in RECIPES.items():
        place = recipe(wide)
        assert place is not None
        ranges[name] = 1 - place.centre[2]
    assert ranges["depth at the box's centre"] == pytest.approx(0.9, abs=0.01)
    assert ranges["nearest cluster"] == pytest.approx(0.9, abs=0.01)
    assert ranges["median in the mask"] == pytest.approx(1.5, abs=0.01)
    assert ranges["erosion, percentiles"] == pytest.approx(1.5, abs=0.01)


def test_clusters_are_joined_by_steps() -> None:
    line = np.c_[np.arange(10) * 0.02, np.zeros((10, 2))]
    points = np.concatenate([line, line + np.array([0.3, 0, 0])])
    labels = clusters(points, 0.03)
    assert (labels[:10] == labels[0]).all() and (labels[10:] == labels[10]).all()
    assert labels[0] != labels[10]


def test_thinned_points_are_one_of_each_cell() -> None:
    points = np.random.default_rng(0).uniform(-0.05, 0.05, (3000, 3))
    kept = thinned(points, 0.05)
    assert len(kept) == 8
    assert len({tuple(cell) for cell in np.floor(kept / 0.05).astype(int)}) == 8


def test_figures_of_a_rendered_view_are_plausible() -> None:
    view = make_depth_view("development", 0, (320, 240))
    outcomes = list(measure_view(view))
    found = summaries(outcomes)
    assert set(found) == {*RECIPES, "floor"}
    whole = [t for t in measured_objects(view) if t.visible >= space.WHOLE]
    assert found["floor"]["off"]["true"].objects == len(whole) > 0
    assert set(found[OWN]) == set(SENSORS)
    assert set(found[OWN]["off"]) == set(MASKS)
    assert found["floor"]["off"]["true"].centre_median < 0.02
    assert found[OWN]["off"]["true"].centre_median < 0.02
    # Differences are in the camera's frame: they are as long as those in the world.
    for each in outcomes:
        if each.place is not None:
            assert each.off is not None and np.linalg.norm(each.off) == each.distance < 1


def test_masks_of_a_pipeline_are_lifted_as_the_node_lifts_them(networks: LoadedNetworks) -> None:
    view = make_depth_view("development", 0, (320, 240))
    config = Config()
    pipeline = networks.pipeline(config)
    detected = list(PipelineMasks(pipeline)(view))
    assert [each.truth for each in detected] == measured_objects(view)
    found = [each for each in detected if each.is_found]
    assert found, "the demo's networks find something in this view"
    names = sorted({each.truth.name for each in detected})
    result = pipeline.run(view.rgb, query_of_names(names))
    camera = Intrinsics.from_matrix(view.camera.matrix, 320, 240)
    depth, to_world = (
        DepthImage(view.depth["moderate"], camera),
        Rigid.from_matrix(view.camera.pose),
    )
    node = lift_all(result, depth, to_world, "world", LiftSettings(up=UP))
    boxes = {
        segment.name: [] if one.box is None else one.box.centre.tolist()
        for segment, one in zip(result.segments, node.lifted, strict=True)
        if [s.name for s in result.segments].count(segment.name) == 1
    }
    assert boxes
    for each in found:
        assert iou(each.mask, view.mask(each.truth)) >= 0.5
        place = lifted(Sight(depth, each.mask, each.clicks, each.others, to_world))
        if each.truth.name in boxes:
            assert boxes[each.truth.name] == ([] if place is None else place.centre.tolist())


def test_objects_that_a_pipeline_does_not_find_have_no_place(networks: LoadedNetworks) -> None:
    """A black picture: nothing is there to find."""
    view = make_depth_view("development", 0, SIZE)
    dark = replace(view, rgb=np.zeros_like(view.rgb))
    outcomes = list(measure_view(dark, PipelineMasks(networks.pipeline(Config()))))
    own = summaries(outcomes)[OWN]["off"]
    assert set(own) == {PIPELINE}
    whole = [t for t in measured_objects(view) if t.visible >= space.WHOLE]
    assert (own[PIPELINE].objects, own[PIPELINE].located) == (len(whole), 0.0)
    assert "| off | the pipeline's |" in markdown(summaries(outcomes))


@pytest.mark.slow
def test_covariance_is_calibrated_on_development_scenes() -> None:
    """68 % within one deviation; the margin is twice the standard error of so few scenes."""
    views = [make_depth_view("development", index) for index in range(4)]
    outcomes = [
        each
        for view in views
        for each in measure_view(view, sensors=("moderate",), recipes=(OWN,))
        if each.deviations is not None
    ]
    assert len(outcomes) > 40
    within = np.abs([each.deviations for each in outcomes]) <= 1
    assert within.mean() == pytest.approx(0.68, abs=0.15)


def outcome(distance: float, *reasons: Reason, whole: bool = True) -> SpaceOutcome:
    place = Place(np.zeros(3), np.ones(3), np.eye(3), reasons)
    off, size_off = np.array([0.0, 0.0, distance]), np.array([-0.1, 0.2, distance])
    deviations = np.array([0.5, -2.5, -1.9])
    seen_as = (OWN, "off", "true", "mug", whole)
    return SpaceOutcome(*seen_as, place, off, size_off, deviations)


def test_summary_counts_what_its_names_say() -> None:
    outcomes = [outcome(0.01 * k) for k in range(1, 5)]
    outcomes += [outcome(0.2, Reason.HIDDEN, whole=False), outcome(0.3, whole=False)]
    outcomes += [SpaceOutcome(OWN, "off", "true", "key", True)]
    summary = summaries(outcomes)[OWN]["off"]["true"]
    assert summary.objects == 5 and summary.located == 0.8
    assert summary.centre_median == pytest.approx(0.025)
    assert summary.centre_p90 == pytest.approx(0.037)
    assert summary.size_median == pytest.approx((0.1, 0.2, 0.025))
    assert summary.far_without_reason == pytest.approx(1 / 6) and summary.far_named == ("mug",)
    assert summary.within_deviation == pytest.approx(1 / 3)
    assert summary.within_two == pytest.approx(2 / 3)


def test_summary_of_nothing_is_nan_and_null(tmp_path: Path) -> None:
    found = summaries([SpaceOutcome(OWN, "off", "true", "key", True)])
    assert math.isnan(found[OWN]["off"]["true"].centre_median)
    write(found, tmp_path)
    written = json.loads((tmp_path / "space.json").read_text())
    assert written[OWN]["off"]["true"]["centre_median"] is None
    assert written[OWN]["off"]["true"]["located"] == 0


def test_tables_have_the_figures_in_millimetres_and_percent() -> None:
    table = markdown(summaries([outcome(0.01), outcome(0.02)]))
    assert (
        "| off | true | 2 | 100.0% | 15.0 | 19.0 | 10.0 | 20.0 | 1.5 | 0.0% | 33% / 67% |" in table
    )
    assert f"| {OWN} | 15.0 / 19.0 |" in table


def test_command_measures_the_pipelines_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path))
    monkeypatch.setattr(space, "SIZE", (320, 240))
    options = ["--masks", "pipeline", "--scenes", "1", "--split", "development"]
    assert main(["evaluate", "--space", *options, "--device", "cpu"]) == 0
    assert "| moderate | the pipeline's |" in capsys.readouterr().out


def test_command_prints_tables_and_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLIP_SURGERY_ROS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(space, "SIZE", SIZE)
    output = tmp_path / "out"
    options = ["--scenes", "1", "--split", "development", "--output", str(output)]
    assert main(["evaluate", "--space", *options]) == 0
    printed = capsys.readouterr()
    assert "development views: 100%" in printed.err
    assert printed.out.startswith((output / "space.md").read_text())
    for recipe in RECIPES:
        assert f"| {recipe} | " in printed.out
    assert set(json.loads((output / "space.json").read_text())) == {*RECIPES, "floor"}
    kept = {file.name for file in (tmp_path / "home" / "world_views").rglob("*.*")}
    assert {"00000.json", "00000.jpg", "00000_off.png"} <= kept
