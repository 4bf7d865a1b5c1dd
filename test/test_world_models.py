"""Users' own models: layouts, names, textures as they are seen, and refusals in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from model_writer import QUARTERS, box_arrays, encoded, quarters, write_glb, write_obj

from clip_surgery_ros.core.errors import WorldError
from clip_surgery_ros.world import model_files
from clip_surgery_ros.world.camera import Camera
from clip_surgery_ros.world.exposure import NEUTRAL, expose
from clip_surgery_ros.world.geometry import build_geometry
from clip_surgery_ros.world.light import neutral_light
from clip_surgery_ros.world.model_files import ModelError, read_model
from clip_surgery_ros.world.models import Model, Words, find_models, load_models, read_words
from clip_surgery_ros.world.render import render
from clip_surgery_ros.world.room import slab
from clip_surgery_ros.world.surfaces import painted
from clip_surgery_ros.world.world_object import WorldObject


def item_of(file: Path, up: str = "z", scale: float = 1.0) -> WorldObject:
    return Model(file, Words("thing"), read_model(file, up, scale)).item()


def seen_from_above(item: WorldObject) -> dict[tuple[int, int], str]:
    """Return the colour seen on each quarter of an object's upper side, by signs of x and y."""
    floor = slab((-1, -1, -0.05), (1, 1, 0), painted((150, 150, 150)))
    geometry = build_geometry({1: item}, [floor])
    down = np.diag([1.0, -1.0, -1.0, 1.0])  # x to the right, y up in the picture
    down[2, 3] = 0.5
    camera = Camera(64, 64, 150.0, down)
    rendering = render(geometry, neutral_light(), camera, antialias=False)
    picture = expose(rendering.light, NEUTRAL, np.random.default_rng(0))
    low, high = item.bounds()
    result = {}
    for x in (-1, 1):
        for y in (-1, 1):
            at = np.array([[x, y, 0]]) * (high - low) / 4 + [0, 0, high[2]]
            pixel = np.round(camera.project(at)[0][0]).astype(int)
            column, row = pixel
            assert rendering.ids[row, column] == 1
            result[x, y] = nearest(picture[row, column])
    return result


def nearest(rgb: np.ndarray) -> str:
    """Return the quarter whose hue is nearest to a colour."""

    def hue(colour: np.ndarray) -> float:
        pixel = np.array(colour, np.uint8)[None, None]
        return float(cv2.cvtColor(pixel, cv2.COLOR_RGB2HSV)[0, 0, 0])

    def apart(name: str) -> float:
        off = abs(hue(rgb) - hue(np.array(QUARTERS[name])))
        return min(off, 180 - off)

    return min(QUARTERS, key=apart)


UPRIGHT = {(-1, 1): "red", (1, 1): "green", (-1, -1): "blue", (1, -1): "yellow"}


@pytest.mark.parametrize("write", [write_obj, write_glb])
def test_texture_is_seen_the_right_way_round(write: Callable[..., Path], tmp_path: Path) -> None:
    suffix = ".obj" if write is write_obj else ".glb"
    assert seen_from_above(item_of(write(tmp_path / f"model{suffix}"))) == UPRIGHT


def test_jpeg_textures_are_read(tmp_path: Path) -> None:
    item = item_of(write_obj(tmp_path / "a.obj", texture="skin.jpg"))
    assert seen_from_above(item) == UPRIGHT


def test_models_stand_on_zero_and_are_centred_in_metres(tmp_path: Path) -> None:
    file = write_obj(tmp_path / "a.obj", (100, 80, 60))
    low, high = item_of(file, scale=0.001).bounds()
    assert np.allclose(low, (-0.05, -0.04, 0))
    assert np.allclose(high, (0.05, 0.04, 0.06))


@pytest.mark.parametrize(
    ("up", "size"), [("x", (0.08, 0.06, 0.1)), ("y", (0.06, 0.1, 0.08)), ("z", (0.1, 0.08, 0.06))]
)
def test_the_axis_that_points_up_is_turned_up_without_mirroring(
    up: str, size: tuple[float, float, float], tmp_path: Path
) -> None:
    item = item_of(write_obj(tmp_path / "a.obj"), up)
    low, high = item.bounds()
    assert np.allclose(high - low, size)
    part = item.parts[0]
    a, b, c = (part.vertices[part.faces[:, k]] for k in range(3))
    assert (np.cross(a, b) * c).sum() / 6 == pytest.approx(0.1 * 0.08 * 0.06)


def test_normals_are_smooth_across_the_seams_of_a_texture(tmp_path: Path) -> None:
    turn = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack([0.03 * np.cos(turn), 0.03 * np.sin(turn)], 1)
    vertices = [(*at, z) for z in (0, 0.1) for at in ring]
    uv = [(k / 24, z) for z in (0, 1) for k in range(25)]
    faces = [(k, k + 1, k + 26) for k in range(24)] + [(k, k + 26, k + 25) for k in range(24)]
    file = write_obj(tmp_path / "a.obj")
    lines = ["mtllib a.mtl", "usemtl skin"]
    lines += [f"v {x} {y} {z}" for x, y, z in vertices] + [f"vt {u} {v}" for u, v in uv]
    lines += ["f " + " ".join(f"{k + 1}/{k + 1}" for k in face) for face in faces]
    file.write_text("\n".join(lines))
    part = read_model(file, "z", 1.0)[0]
    at = part.vertices[part.faces]
    outward = at * [1, 1, 0] / np.linalg.norm(at[..., :2], axis=2, keepdims=True)
    assert ((part.normals * outward).sum(2) > 0.995).all()


def test_layouts_and_names(tmp_path: Path) -> None:
    write_obj(tmp_path / "025_mug" / "google_16k" / "textured.obj")
    write_obj(tmp_path / "025_mug" / "other.obj")
    write_obj(tmp_path / "Plant_Pot" / "meshes" / "model.obj")
    write_glb(tmp_path / "drill" / "model.glb")
    write_glb(tmp_path / "065-a_cups.glb")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no model")
    files = find_models(tmp_path)
    assert {name: str(file.relative_to(tmp_path)) for name, file in files.items()} == {
        "025_mug": "025_mug/google_16k/textured.obj",
        "065-a_cups": "065-a_cups.glb",
        "Plant_Pot": "Plant_Pot/meshes/model.obj",
        "drill": "drill/model.glb",
    }
    models, refused = load_models(tmp_path)
    assert not refused
    assert [model.words.name for model in models] == ["mug", "cups", "plant pot", "drill"]


def test_google_scanned_objects_keep_textures_in_another_folder(tmp_path: Path) -> None:
    file = write_obj(tmp_path / "Pot" / "meshes" / "model.obj")
    textures = tmp_path / "Pot" / "materials" / "textures"
    textures.mkdir(parents=True)
    (file.parent / "texture.png").rename(textures / "texture.png")
    assert seen_from_above(item_of(file)) == UPRIGHT


def test_objects_json_names_scales_and_turns(tmp_path: Path) -> None:
    write_obj(tmp_path / "025_mug" / "textured.obj", (100, 80, 60))
    write_obj(tmp_path / "box" / "model.obj", (10, 8, 6))
    table = {
        "*": {"scale": 0.001},
        "025_mug": {"name": "coffee mug", "synonyms": ["cup"], "colour": "red", "up": "y"},
        "box": {"scale": 0.01, "symmetric": True},
    }
    (tmp_path / "objects.json").write_text(json.dumps(table))
    models, refused = load_models(tmp_path)
    assert not refused
    mug, box = models
    assert mug.words == Words("coffee mug", ("cup",), "red", "y", 0.001)
    assert np.allclose(mug.item().bounds()[1][2], 0.08)
    assert box.words.symmetric
    assert box.item().kind.symmetric


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("{", "objects.json cannot be read"),
        ("[]", "must be an object"),
        ('{"cup": {}}', "is about cup, but no model has this name"),
        ('{"mug": 3}', "what is said of mug must be an object"),
        ('{"mug": {"size": 1}}', "mug has size; there are name, synonyms"),
        ('{"mug": {"scale": 0}}', "scale of mug is 0, but must be a number above 0"),
        ('{"mug": {"scale": true}}', "scale of mug is True"),
        ('{"mug": {"up": "w"}}', "up of mug is 'w', but must be one of x, y, z"),
        ('{"mug": {"name": " "}}', "must be a text that is not empty"),
        ('{"mug": {"synonyms": "cup"}}', "must be a list of texts"),
        ('{"mug": {"symmetric": 1}}', "must be true or false"),
    ],
)
def test_wrong_tables_are_refused_in_words(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "objects.json").write_text(table)
    with pytest.raises(WorldError, match=r"objects\.json") as refused:
        read_words(tmp_path, ["mug"])
    assert message in str(refused.value)


def test_folders_without_models_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"holds no model: it needs NAME/model\.glb"):
        find_models(tmp_path)
    with pytest.raises(WorldError, match="is not a folder of models"):
        find_models(tmp_path / "none")


@pytest.mark.parametrize(
    ("size", "scale", "message"),
    [
        ((101, 80, 60), 1.0, '101 m across.*files in mm want "scale": 0.001'),
        ((10.1, 8, 6), 1.0, '10.1 m across.*files in mm want "scale": 0.001|in cm'),
        ((0.1, 0.08, 0.06), 0.001, "0.0001 m across, but objects are 4 mm to 1.5 m"),
    ],
)
def test_wrong_units_are_refused_with_the_scale_that_is_wanted(
    size: tuple[float, float, float], scale: float, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=message):
        item_of(write_obj(tmp_path / "a.obj", size), scale=scale)


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def without_texture(folder: Path) -> Path:
    file = write_obj(folder / "a.obj")
    (folder / "texture.png").unlink()
    return file


def without_material(folder: Path) -> Path:
    file = write_obj(folder / "a.obj")
    (folder / "a.mtl").unlink()
    return file


def without_coordinates(folder: Path) -> Path:
    file = write_obj(folder / "a.obj")
    lines = [line for line in file.read_text().splitlines() if not line.startswith("vt")]
    file.write_text("\n".join(line.split("/")[0] if line[0] == "f" else line for line in lines))
    file.write_text(file.read_text() + "\nf 1 2 3\n")
    return file


def outside_texture(folder: Path) -> Path:
    (folder / "secret.png").write_bytes(encoded(quarters()))
    file = write_obj(folder / "model" / "a.obj")
    change(file.with_suffix(".mtl"), "texture.png", "../secret.png")
    return file


def broken_texture(folder: Path) -> Path:
    whole = encoded(quarters(256))
    return write_obj(folder / "a.obj", picture=whole[: len(whole) // 2])


def text_as_texture(folder: Path) -> Path:
    return write_obj(folder / "a.obj", picture=b"no picture")


def short_glb(folder: Path) -> Path:
    file = write_glb(folder / "a.glb")
    file.write_bytes(file.read_bytes()[:700])
    return file


def wrong_glb(folder: Path) -> Path:
    file = write_glb(folder / "a.glb")
    file.write_bytes(file.read_bytes().replace(b'"count": 36', b'"count": 99'))
    return file


def not_glb(folder: Path) -> Path:
    (folder / "a.glb").write_bytes(b"glTF" + bytes(60))
    return folder / "a.glb"


def empty(folder: Path) -> Path:
    (folder / "a.obj").write_text("")
    return folder / "a.obj"


def missing_vertex(folder: Path) -> Path:
    file = write_obj(folder / "a.obj")
    file.write_text(file.read_text() + "f 1/1 2/2 99/3\n")
    return file


def not_numbers(folder: Path) -> Path:
    file = write_obj(folder / "a.obj")
    change(file, "v 0.1 0.0 0.0", "v nan 0.0 0.0")
    return file


def flat(folder: Path) -> Path:
    return write_obj(folder / "a.obj", (0.1, 0.08, 0.0))


def a_point(folder: Path) -> Path:
    file = write_obj(folder / "a.obj")
    kept = [line for line in file.read_text().splitlines() if line[:2] != "f "]
    file.write_text("\n".join([*kept, "f 1/1 1/1 8/8", "f 1/1 8/8 20/20"]))
    return file


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (without_texture, "has no texture"),
        (without_material, "has no texture"),
        (without_coordinates, "has no texture"),
        (outside_texture, "has no texture"),
        (text_as_texture, "has no texture"),
        (broken_texture, "damaged"),
        (short_glb, "damaged"),
        (wrong_glb, "damaged|triangles"),
        (not_glb, "damaged"),
        (empty, "damaged|no triangles"),
        (missing_vertex, "damaged|not there"),
        (not_numbers, "no numbers"),
        (flat, "degenerate: flat"),
        (a_point, "degenerate"),
    ],
)
def test_models_that_cannot_be_used_are_refused_with_their_file(
    write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    file = write(tmp_path)
    with pytest.raises(ModelError, match=message) as refused:
        read_model(file, "z", 1.0)
    assert str(file) in str(refused.value)


def test_one_model_that_is_refused_leaves_the_others(tmp_path: Path) -> None:
    write_obj(tmp_path / "good" / "model.obj")
    write_obj(tmp_path / "large" / "model.obj", (101, 80, 60))
    models, refused = load_models(tmp_path)
    assert [model.words.name for model in models] == ["good"]
    assert len(refused) == 1
    assert "large/model.obj is 101 m across" in refused[0]


def test_too_many_triangles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_obj(tmp_path / "a.obj")
    with monkeypatch.context() as changed:
        changed.setattr(model_files, "MOST_TRIANGLES", 11)
        with pytest.raises(ModelError, match="has 12 triangles, at most 11"):
            read_model(file, "z", 1.0)
    monkeypatch.setattr(model_files, "MOST_AT_A_POINT", 20)
    with pytest.raises(ModelError, match="meet at one point"):
        read_model(file, "z", 1.0)


def test_a_parser_that_says_nothing_is_named_by_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(model_files.trimesh(), "load_scene", fail)
    with pytest.raises(ModelError, match=r"not a model: AssertionError$"):
        read_model(write_obj(tmp_path / "a.obj"), "z", 1.0)


def test_large_textures_are_reduced(tmp_path: Path) -> None:
    file = write_obj(tmp_path / "a.obj", picture=encoded(quarters(3000)))
    (part,) = read_model(file, "z", 1.0)
    assert part.image is not None
    assert part.image.shape == (1024, 1024, 3)


def test_boxes_of_the_writer_are_closed() -> None:
    vertices, _, faces = box_arrays((1, 1, 1))
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert (np.cross(a, b) * c).sum() / 6 == pytest.approx(1)
