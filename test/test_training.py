"""Training of the demo's networks: rendered views, windows of them, phrases, prompts, losses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import small_sam

from clip_surgery_ros.core.errors import WeightsError, WorldError
from clip_surgery_ros.core.presence import UNFITTED
from clip_surgery_ros.evaluation.examples import Example
from clip_surgery_ros.networks.clip.backend import ClipBackend
from clip_surgery_ros.networks.clip.vocabulary_table import TABLE
from clip_surgery_ros.networks.factory import settings_of
from clip_surgery_ros.networks.sam.backend import SamBackend
from clip_surgery_ros.networks.sam.build import build_sam
from clip_surgery_ros.networks.sam.caching_segmenter import CachingSegmenter
from clip_surgery_ros.parameters.config import Config
from clip_surgery_ros.training import (
    clip_model,
    export,
    sam_data,
    train_clip,
    transfer,
    transfer_clips,
    transfer_pictures,
    world_views,
)
from clip_surgery_ros.training.clip_batches import Batch, ClipSteps
from clip_surgery_ros.training.clip_losses import WEIGHTS, losses
from clip_surgery_ros.training.clip_model import (
    PATCH,
    ObjectiveHeads,
    Vocabulary,
    build_clip,
    encode_images,
)
from clip_surgery_ros.training.clip_phrases import (
    COLOUR_NAMES,
    IGNORED,
    UNKNOWN_TEXTS,
    ask,
    window_caption,
)
from clip_surgery_ros.training.optimization import Muon
from clip_surgery_ros.training.options import ClipOptions, Machine, RunFiles, SamOptions
from clip_surgery_ros.training.sam_data import PromptedSteps, masked_picture, nested_masks
from clip_surgery_ros.training.sam_model import MASK_SIZE, SPEC, resize_positions
from clip_surgery_ros.training.sam_model import losses as sam_losses
from clip_surgery_ros.training.sam_prompts import MaskedPicture, click_excluding_others
from clip_surgery_ros.training.validate_clip import CLEAR, Findings
from clip_surgery_ros.training.windows import (
    LEAST_PIXELS,
    MIXED,
    ROOM,
    Window,
    choose_tokens,
    choose_window,
    cut,
    disturbed,
    normalize,
)
from clip_surgery_ros.training.world_views import View, Views
from clip_surgery_ros.weights.files import demo_weights
from clip_surgery_ros.weights.state_dicts import load_state_dict
from clip_surgery_ros.world.frame import NamedObject
from clip_surgery_ros.world.objects import NAMES

SIDE = 64
MUG, BOWL = NamedObject(3, "mug", "red", "glossy"), NamedObject(9, "bowl", "blue", "")
HAMMER = NamedObject(4, "hammer", "", "")
CLIP = ClipOptions(
    steps=3,
    decay=0,
    small_steps=1,
    batch=4,
    rate=1e-3,
    seed=5,
    bfloat16=False,
    side=SIDE,
    kept_tokens=0,
    contrastive_only=False,
    image_tower=None,
)
MACHINE = Machine("cpu", threads=1, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render small views of two training scenes and of one development scene."""
    folder = tmp_path_factory.mktemp("views")
    world_views.render_scenes(folder, "train", 2, processes=1, size=(192, 144))
    world_views.render_scenes(folder, "development", 1, processes=1, size=(96, 72))
    return folder


@pytest.fixture
def views(folder: Path) -> Views:
    return Views(folder, "train", 2)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CLIP have two layers in each tower."""
    monkeypatch.setattr(clip_model, "LAYERS", 2)
    monkeypatch.setattr(clip_model, "TEXT_LAYERS", 2)


def mug_and_bowl() -> View:
    """Return a view of 128 x 96: a red mug on the left, a blue bowl on the right."""
    ids = np.zeros((96, 128), np.uint8)
    ids[24:72, 16:48] = MUG.instance
    ids[32:64, 80:120] = BOWL.instance
    rgb = np.full((96, 128, 3), 200, np.uint8)
    rgb[ids == MUG.instance], rgb[ids == BOWL.instance] = (200, 20, 20), (20, 20, 200)
    return View(rgb, ids, (MUG, BOWL, HAMMER))


def test_views_of_a_scene_show_its_objects_in_other_light_from_another_side(views: Views) -> None:
    assert len(views) == 6
    seen = [views.read(number) for number in range(6)]
    for view in seen:
        assert view.rgb.shape == (144, 192, 3) and view.ids.shape == (144, 192)
        assert set(np.unique(view.ids)) - {0} <= {item.instance for item in view.objects}
        assert all(item.name in NAMES for item in view.objects)
    assert seen[0].objects == seen[2].objects != seen[3].objects
    assert not np.array_equal(seen[0].ids, seen[1].ids)


def test_scene_that_is_there_is_not_rendered_again_and_one_that_is_not_whole_is(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    kept, lost = (tmp_path / "train" / name for name in ("00000.jpg", "00004.jpg"))
    before, content = kept.stat(), lost.read_bytes()
    lost.unlink()
    with pytest.raises(WorldError, match="lacks scene 1 of the train views; run `clip_surgery"):
        Views(tmp_path, "train", 2)
    assert len(Views(tmp_path, "train")) == 3
    world_views.render_scenes(tmp_path, "train", 2, processes=2, size=(192, 144))
    assert kept.stat() == before and lost.read_bytes() == content


def test_missing_and_damaged_views_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="lacks scene 0 of the development views"):
        Views(tmp_path, "development")
    for damage in ("{}", "[]", '{"objects": [{}]}', "{"):
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        (tmp_path / "train" / "00005.json").write_text(damage)
        with pytest.raises(WorldError, match=r"view 5 in .*train are missing or damaged; delete"):
            Views(tmp_path, "train").read(5)


def test_a_window_says_what_is_there_and_what_each_token_shows() -> None:
    window = cut(mug_and_bowl(), (0, 0, 96, 96), 96, mirrored=False)
    assert window.objects == (MUG, BOWL) and window.there == (True, True)
    owners = window.owners.reshape(12, 12)
    assert owners[5, 4] == 0 and owners[5, 10] == 1 and owners[0, 0] == ROOM
    # Of the bowl, a tenth is in this window.
    partly = cut(mug_and_bowl(), (0, 0, 84, 84), 96, mirrored=False)
    assert partly.objects == (MUG, BOWL) and partly.there == (True, False)
    mirrored = cut(mug_and_bowl(), (0, 0, 96, 96), 96, mirrored=True)
    assert np.array_equal(mirrored.owners.reshape(12, 12), owners[:, ::-1])
    assert np.array_equal(mirrored.rgb, window.rgb[:, ::-1])


def test_tokens_of_two_things_have_no_owner_and_tiny_objects_are_not_there() -> None:
    ids = np.zeros((96, 96), np.uint8)
    ids[2:5, 2:5] = MUG.instance
    view = View(np.zeros((96, 96, 3), np.uint8), ids, (MUG,))
    window = cut(view, (0, 0, 96, 96), 96, mirrored=False)
    assert (ids > 0).sum() < LEAST_PIXELS and window.there == (False,)
    assert window.owners[0] == MIXED and (window.owners[1:] == ROOM).all()


@pytest.mark.parametrize("tight", [True, False])
def test_windows_lie_in_the_view_and_show_an_object(tight: bool) -> None:
    view = mug_and_bowl()
    rng = np.random.default_rng(0)
    for _ in range(100):
        left, top, width, height = choose_window(view.ids, rng, tight)
        assert left >= 0 and top >= 0 and left + width <= 128 and top + height <= 96
        assert view.ids[top : top + height, left : left + width].any()


def test_most_kept_tokens_are_of_objects_and_the_others_of_all_that_is_left() -> None:
    owners = np.array([ROOM] * 20 + [0] * 10 + [MIXED] * 20 + [1] * 10)
    rng = np.random.default_rng(0)
    for count, least in ((20, 12), (40, 20)):
        drawn = [choose_tokens(owners, count, rng) for _ in range(40)]
        assert all(len(np.unique(tokens)) == count for tokens in drawn)
        objects = [int((owners[tokens] >= 0).sum()) for tokens in drawn]
        assert min(objects) >= least and max(objects) < count
    assert len({tuple(tokens) for tokens in drawn}) > 30


def test_disturbances_keep_the_colours_of_a_picture_apart() -> None:
    view, rng = mug_and_bowl(), np.random.default_rng(1)
    changed = [disturbed(view.rgb, rng) for _ in range(40)]
    assert not all(np.array_equal(changed[0], other) for other in changed)
    for rgb in changed:
        red, blue = (rgb[view.ids == item.instance].mean(0) for item in (MUG, BOWL))
        assert red.argmax() == 0 and blue.argmax() == 2


def window_of_mug_and_bowl() -> Window:
    return cut(mug_and_bowl(), (0, 0, 128, 96), SIDE, mirrored=False)


def test_phrases_are_true_of_the_object_that_has_both_name_and_colour() -> None:
    window, vocabulary = window_of_mug_and_bowl(), Vocabulary()
    phrases = ask([window], vocabulary, np.random.default_rng(0))
    names, coloured, finished = phrases.counts
    assert names == len(NAMES) and coloured == 2 * len(COLOUR_NAMES) and finished == 3
    true = [text for text, value in zip(phrases.texts, phrases.present[0], strict=True) if value]
    assert len(true) == 2 + 2 + 1 + 2  # names, in their colours, in its finish, the colours
    joined = " ".join(true)
    assert "red" in joined and "blue" in joined and ("glossy" in joined or "shiny" in joined)
    room = (window.owners == ROOM).nonzero()[0][0]
    on_mug = (window.owners == 0).nonzero()[0][0]
    assert phrases.name_targets[0, on_mug] == NAMES.index("mug")
    assert phrases.name_targets[0, room] == len(NAMES)
    target = int(phrases.joint_targets[0, on_mug])
    assert "red" in phrases.texts[target] and phrases.present[0, target] == 1
    assert phrases.joint_targets[0, room] == names + coloured
    assert phrases.joint_left_out.sum() == 2
    assert phrases.colour_targets[0, on_mug] == COLOUR_NAMES.index("red")
    assert phrases.colour_targets[0, room] == IGNORED
    assert len(phrases.texts) == names + coloured + finished + len(COLOUR_NAMES) + UNKNOWN_TEXTS


def test_what_is_hardly_in_the_window_is_neither_present_nor_absent() -> None:
    partly = cut(mug_and_bowl(), (0, 0, 84, 84), 96, mirrored=False)
    phrases = ask([partly], Vocabulary(), np.random.default_rng(0))
    assert phrases.present[0, NAMES.index("bowl")].isnan()
    assert phrases.present[0, NAMES.index("mug")] == 1
    caption = window_caption(partly, np.random.default_rng(0))
    assert "mug" in caption and "bowl" not in caption


def test_an_object_without_a_colour_is_asked_by_its_name_alone() -> None:
    ids = np.full((96, 96), HAMMER.instance, np.uint8)
    hammer = View(np.zeros((96, 96, 3), np.uint8), ids, (HAMMER,))
    windows = [cut(hammer, (0, 0, 96, 96), SIDE, mirrored=False), window_of_mug_and_bowl()]
    phrases = ask(windows, Vocabulary(), np.random.default_rng(0))
    assert (phrases.name_targets[0] == NAMES.index("hammer")).all()
    assert (phrases.joint_targets[0] == NAMES.index("hammer")).all()
    assert (phrases.colour_targets[0] == IGNORED).all()
    assert phrases.present[0].sum() == 1


def test_every_word_of_captions_and_phrases_has_a_row_in_the_vocabulary() -> None:
    vocabulary, rng = Vocabulary(), np.random.default_rng(0)
    windows = [window_of_mug_and_bowl()]
    known = ask(windows, vocabulary, rng).texts[:-UNKNOWN_TEXTS]
    rows, end = vocabulary.tokens([*known, window_caption(windows[0], rng)])
    assert all((row[: stop + 1] > 0).all() for row, stop in zip(rows, end, strict=True))
    unknown = vocabulary.unknown_texts(rng, 20)
    rows, _ = vocabulary.tokens(unknown)
    assert ((rows == 0).sum(1) > 0).all()


def test_a_step_has_the_same_batch_in_any_run_and_another_step_another(views: Views) -> None:
    batch = ClipSteps(CLIP, views, 0)[2]
    again = ClipSteps(CLIP, views, 2)[0]
    other = ClipSteps(CLIP, views, 0)[1]
    assert batch.images.shape == (4, SIDE, SIDE, 3) and len(batch.captions) == 4
    assert torch.equal(batch.images, again.images) and batch.captions == again.captions
    assert batch.phrases.texts == again.phrases.texts
    assert not torch.equal(batch.images, other.images)


@pytest.mark.usefixtures("shallow")
def test_kept_tokens_of_a_step_have_their_own_targets_and_features(views: Views) -> None:
    whole = ClipSteps(CLIP, views, 0)[1]
    part = ClipSteps(replace(CLIP, kept_tokens=10), views, 0)[1]
    assert part.kept is not None and part.kept.shape == (4, 10)
    assert torch.equal(part.images, whole.images)
    assert torch.equal(part.phrases.name_targets, whole.phrases.name_targets.gather(1, part.kept))
    model = build_clip(len(Vocabulary()))
    pixels = normalize(part.images)
    every = torch.arange((SIDE // PATCH) ** 2).expand(4, -1)
    with torch.no_grad():
        cls, tokens = encode_images(model.visual, pixels)
        same_cls, same_tokens = encode_images(model.visual, pixels, every.flip(1))
    torch.testing.assert_close(same_cls, cls)
    torch.testing.assert_close(same_tokens.flip(1), tokens)


def test_some_steps_on_one_batch_lower_each_loss(views: Views) -> None:
    torch.manual_seed(0)
    vocabulary = Vocabulary()
    model, heads = build_clip(len(vocabulary)), ObjectiveHeads()
    batch = ClipSteps(CLIP, views, 0)[0]
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=3e-4)
    history: list[dict[str, float]] = []
    for _ in range(40):
        parts = _losses(model, heads, batch, vocabulary)
        history.append({name: float(value.detach()) for name, value in parts.items()})
        optimizer.zero_grad()
        torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum().backward()
        optimizer.step()
    assert set(history[0]) == set(WEIGHTS)
    assert all(history[-1][name] < history[0][name] for name in WEIGHTS if history[0][name])
    assert history[-1]["name"] < 0.7 * history[0]["name"]


def _losses(model, heads, batch: Batch, vocabulary: Vocabulary) -> dict[str, torch.Tensor]:
    encoded = encode_images(model.visual, normalize(batch.images))
    return losses(model, heads, encoded, batch, vocabulary)


@pytest.mark.usefixtures("shallow")
def test_training_resumes_from_a_checkpoint_and_from_an_exported_file(
    folder: Path, tmp_path: Path
) -> None:
    checkpoint, exported = tmp_path / "clip.pt", tmp_path / "clip.safetensors"
    files = RunFiles(folder, 2, checkpoint, None, 1)
    with torch.compiler.set_stance("force_eager"):  # compiling takes longer than the steps
        train_clip.train(replace(CLIP, steps=1), files, MACHINE)
        export.export_clip(checkpoint, exported, FewClaims())
        resumed = replace(files, checkpoint=tmp_path / "next.pt", resume=exported)
        train_clip.train(replace(CLIP, steps=2), resumed, MACHINE)
    assert torch.load(tmp_path / "next.pt", weights_only=True)["step"] == 2
    export.export_clip(exported, tmp_path / "again.safetensors", FewClaims())
    (first, about), (again, about_again) = map(
        load_state_dict, (exported, tmp_path / "again.safetensors")
    )
    assert about == about_again and first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for resume in (checkpoint, exported):
        saved = torch.load(checkpoint, weights_only=True)
        saved["model"][TABLE][0] = 0  # the row of unknown tokens, which is not used
        state = train_clip._initial_state(resume, Vocabulary())
        assert state["step"] == 1
        state["model"][TABLE][0] = 0
        for name, values in saved["model"].items():
            assert torch.allclose(state["model"][name], values, rtol=1e-3, atol=1e-5), name
        assert state["heads"].keys() == saved["heads"].keys()
    with pytest.raises(WeightsError, match="has no training heads"):
        train_clip._initial_state(demo_weights("sam_demo"), Vocabulary())
    with pytest.raises(WeightsError, match="has no training heads"):
        export.export_clip(demo_weights("sam_demo"), tmp_path / "wrong.safetensors", FewClaims())


def test_training_begins_with_the_image_tower_of_another_clip_but_its_projection(
    folder: Path, tmp_path: Path
) -> None:
    options = replace(CLIP, steps=1, rate=1e-12, image_tower=demo_weights("clip_demo"))
    files = RunFiles(folder, 2, tmp_path / "clip.pt", None, 1)
    with torch.compiler.set_stance("force_eager"):
        train_clip.train(options, files, MACHINE)
    trained = torch.load(files.checkpoint, weights_only=True)["model"]
    given, _ = load_state_dict(demo_weights("clip_demo"))
    for name in ("visual.conv1.weight", "visual.transformer.resblocks.5.mlp.c_proj.weight"):
        assert torch.allclose(trained[name], given[name].float(), atol=1e-6)
    assert not torch.allclose(trained["visual.proj"], given["visual.proj"].float(), atol=0.01)
    with pytest.raises(WeightsError, match=r"sam_demo.* is not of the demo CLIP's sizes"):
        train_clip.train(replace(options, image_tower=demo_weights("sam_demo")), files, MACHINE)


@pytest.mark.parametrize("shape", [(24, 96), (72, 24), (24, 24)])
def test_muon_in_float32_updates_as_torch_s_does_in_bfloat16(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape))
    torchs = torch.nn.Parameter(ours.detach().clone())
    optimizers = (
        Muon([ours], lr=1e-2, weight_decay=0.05),
        torch.optim.Muon([torchs], lr=1e-2, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        before = ours.detach().clone()
        ours.grad = torch.randn(shape)
        torchs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        change = float((ours - before).detach().abs().mean())
        assert torch.allclose(ours, torchs, atol=0.3 * change)


class FewClaims:
    """A scene source with one picture, on which presence is fitted."""

    names, attributes, other_words = ("mug", "bowl"), ("red", "blue"), {"cup": "mug"}
    sets = ("one",)

    def claims(self, set_name: str, split: str, count: int) -> Iterator[Example]:
        """Yield the picture of mug and bowl."""
        view = mug_and_bowl()
        masks = [view.ids == MUG.instance, view.ids == BOWL.instance]
        yield Example.of_objects(view.rgb, ["mug", "bowl"], masks, ["hammer", "pen"])


def test_findings_count_pointing_colours_and_binding() -> None:
    window, names = window_of_mug_and_bowl(), torch.zeros(SIDE**2 // PATCH**2, len(NAMES))
    on_mug, on_bowl = (int((window.owners == k).nonzero()[0][0]) for k in (0, 1))
    names[on_mug, NAMES.index("mug")] = 1
    names[on_mug, NAMES.index("bowl")] = 1
    findings = Findings()
    findings.add_names(window, names, names.amax(0))
    assert findings.inside == [True, False]
    names[on_bowl, NAMES.index("bowl")] = 2
    findings.add_names(window, names, names.amax(0))
    evidence = torch.zeros(len(NAMES), len(COLOUR_NAMES))
    evidence[NAMES.index("mug"), COLOUR_NAMES.index("red")] = 1
    evidence[NAMES.index("bowl"), COLOUR_NAMES.index("red")] = 1
    evidence[NAMES.index("bowl"), COLOUR_NAMES.index("blue")] = 0.5
    findings.add_colours(window, evidence)
    assert findings.inside == [True, False, True, True]
    assert findings.colour_right == [True, False]
    assert (findings.bound, findings.unbound) == ([1.0, 0.5], [0.0, 1.0])
    assert findings.figures()["auroc"] == 1.0
    assert findings.figures()["binding"] == pytest.approx(0.625)
    shares = [float((window.owners == index).mean()) for index in (0, 1)]
    assert min(shares) >= CLEAR and findings.clear_inside == findings.inside
    tiny = replace(window, owners=np.where(window.owners == 1, ROOM, window.owners))
    tiny.owners[on_bowl] = 1  # one token
    findings.add_names(tiny, names, names.amax(0))
    assert findings.inside[-2:] == [True, True] and len(findings.clear_inside) == 5


def picture(*names: str) -> MaskedPicture:
    """Return a picture of squares side by side."""
    masks = np.zeros((len(names), 40, 40 * len(names)), np.bool_)
    for index, mask in enumerate(masks):
        mask[8:32, 40 * index + 8 : 40 * index + 32] = True
    return MaskedPicture(np.zeros((*masks.shape[1:], 3), np.uint8), masks, names)


@pytest.mark.parametrize("size", [2, 3])
def test_click_excluding_others_excludes_copies_or_other_objects(size: int) -> None:
    for shown, allowed in (
        (picture("mug", "bowl", "mug"), [2]),
        (picture("mug", "bowl", "pen"), [1, 2]),
        (picture("mug"), []),
    ):
        points, labels = click_excluding_others(shown, 0, size, np.random.default_rng(0))
        assert labels.tolist() == [1] + [0] * (size - 1)
        assert _at(shown.masks[0], points[0])
        outside = np.any(shown.masks[allowed], axis=0) if allowed else ~shown.masks[0]
        assert all(_at(outside, point) for point in points[1:])


def _at(mask: np.ndarray, xy: np.ndarray) -> bool:
    return bool(mask[int(xy[1]), int(xy[0])])


def test_objects_too_small_for_a_mask_are_left_out() -> None:
    view = mug_and_bowl()
    shown = masked_picture(view.rgb, view.ids, view.objects)
    assert shown is not None and shown.names == ("mug", "bowl") and shown.masks.any((1, 2)).all()
    assert masked_picture(view.rgb, np.zeros_like(view.ids), view.objects) is None


def test_nested_masks_are_half_of_an_object_all_of_it_and_what_touches_it(views: Views) -> None:
    view = mug_and_bowl()
    shown = masked_picture(view.rgb, view.ids, view.objects)
    assert shown is not None
    part, whole, around = nested_masks(shown, 0, np.array([20, 70], np.float32))
    assert (whole == shown.masks[0]).all() and part[70, 20] and not part[26, 20]
    assert 0.4 < part.sum() / whole.sum() < 0.6 and not (part & ~whole).any()
    assert not (whole & ~around).any() and not (around & shown.masks[1]).any()
    beside = replace(shown, masks=np.stack([whole, np.roll(whole, 33, axis=1)]))
    assert (nested_masks(beside, 0, np.zeros(2, np.float32))[2] == beside.masks.any(0)).all()
    options = SamOptions(steps=8, decay=0, batch=1, rate=0, seed=0, bfloat16=False, nested=True)
    batch = PromptedSteps(options, views, 0)[0]
    assert batch.targets.shape[1] == 3
    sizes = batch.targets.sum(dim=(2, 3))
    assert (sizes[:, 0] <= sizes[:, 1]).all() and (sizes[:, 1] <= sizes[:, 2]).all()
    logits = torch.where(batch.targets > 0.5, 9.0, -9.0)
    right = torch.cat([logits[:, 1:2], logits], dim=1)
    wrong = torch.cat([logits[:, 1:2], logits.flip(1)], dim=1)
    quality = torch.ones(len(right), 4)
    found, missed = (sam_losses(each, quality, batch.targets) for each in (right, wrong))
    assert found["iou"] > 0.99 and found["mask"] < missed["mask"]


def test_batch_has_prompts_of_one_size_and_targets_that_contain_the_click(views: Views) -> None:
    options = SamOptions(steps=8, decay=0, batch=2, rate=0, seed=0, bfloat16=False, nested=False)
    sizes = []
    for step in range(8):
        batch = PromptedSteps(options, views, step)[0]
        sizes.append(batch.points.shape[1])
        assert batch.pixels.shape == (2, 3, SPEC.image_size, SPEC.image_size)
        assert batch.points.shape[:2] == batch.labels.shape == (2 * sam_data.PROMPTS, sizes[-1])
        assert batch.points.min() >= 0 and batch.points.max() < SPEC.image_size
        assert batch.targets.shape[1] == 1 and batch.targets.amax(dim=(2, 3)).min() > 0.1
        if sizes[-1] in sam_data.EXCLUDING_SIZES:
            cells = (batch.points[:, 0] * MASK_SIZE / SPEC.image_size).long()
            at_click = batch.targets[range(len(cells)), 0, cells[:, 1], cells[:, 0]]
            assert at_click.min() > 0
    assert tuple(sizes) == sam_data.PROMPT_SIZES


def test_positions_are_interpolated_for_a_larger_image() -> None:
    small = build_sam(replace(SPEC, image_size=256)).state_dict()
    grid = SPEC.image_size // SPEC.patch_size
    small["image_encoder.pos_embed"][:] = 0.25
    resized = {name: resize_positions(name, values) for name, values in small.items()}
    build_sam(SPEC).load_state_dict(resized)
    changed = [name for name in small if resized[name].shape != small[name].shape]
    tables = [f"image_encoder.blocks.{k}.attn.rel_pos_{a}" for k in (2, 5) for a in "hw"]
    assert sorted(changed) == sorted(["image_encoder.pos_embed", *tables])
    assert resized["image_encoder.pos_embed"].shape == (1, grid, grid, SPEC.encoder_dim)
    assert (resized["image_encoder.pos_embed"] - 0.25).abs().max() < 1e-6
    # Tensors with the correct size do not change.
    unchanged = {name: resize_positions(name, values) for name, values in resized.items()}
    assert all((unchanged[name] - resized[name]).abs().max() < 1e-6 for name in resized)


def test_clip_of_the_study_is_an_unseen_network_whose_pair_has_nothing_fitted(
    views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_clips, "BATCH", 4)
    transfer_clips.keep_windows(views, tmp_path, 12)
    windows, file = transfer_clips.KeptWindows(tmp_path), tmp_path / "clip.safetensors"
    images, captions = windows.batch(5, 64, np.random.default_rng(0))
    assert images.shape == (5, 64, 64, 3) and len(captions) == 5
    transfer_clips.train(replace(transfer_clips.CLIPS["coarse"], steps=1), windows, file)
    clip = ClipBackend.from_file(file)
    assert clip.input_size == transfer_clips.CLIPS["coarse"].side
    config = Config.from_values({"clip_model": "openai", "clip_checkpoint": str(file)})
    settings = settings_of(config, clip, windows=False)
    assert settings.presence_level == UNFITTED and settings.ranking is None
    assert settings_of(Config.from_values(), clip, windows=False).ranking is not None
    example = next(transfer_pictures.pictures(views, NAMES, 1))
    outcomes = transfer.masks_of(clip, CachingSegmenter(SamBackend(small_sam())), [example], False)
    assert {len(each[0].instance_ious) for each in outcomes.values()} == {len(example.masks)}
    shown = transfer.presence_of(clip, [example], UNFITTED, NAMES)
    assert len(shown.there) == len(example.present)


def test_pictures_of_the_study_are_whole_views_large_objects_and_cut_ones(views: Views) -> None:
    whole, large, cut = list(transfer_pictures.pictures(views, NAMES, 3))
    assert whole.image.shape == large.image.shape == cut.image.shape == (240, 320, 3)
    small, near = (
        max(np.ptp(np.argwhere(mask), axis=0).max() for mask in example.masks)
        for example in (whole, large)
    )
    assert near > small and near >= 0.35 * 240
    assert any(mask[:, [0, -1]].any() for mask in cut.masks)
