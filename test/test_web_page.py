"""The web console's page in a real Chromium, beside a camera and a node with the demo networks."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from clip_surgery_ros.msg import SegmentArray
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from rclpy.node import Node
from ros.browser import NONE, browser, chromium, problems_of
from ros.harness import CAMERA, NODE, Process, ros_domain, slowdown, wait_until
from ros.known_scene import VIEW, Scene, known_scene, overlap
from ros.web_console import WEB, web_console

from clip_surgery_ros.demo.show import SPACE
from clip_surgery_ros.ros.endpoints import type_name

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason=NONE),
]
LEAST_CONTRAST = 4.5
"""WCAG 2.2, AA, of text."""
WAIT_MS = 30_000
TRIED = "TrustedHTML"
"""In the error that a test causes on purpose."""


@dataclass
class World:
    """Camera, node and console that run, and where the console is."""

    scene: Scene
    node: Node
    address: str
    browser: Browser

    def readers(self, topic: str) -> int:
        """Return how many read a topic."""
        return self.node.count_subscribers(topic)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    expect.set_options(timeout=WAIT_MS * slowdown())
    with (
        ros_domain() as context,
        Process(*CAMERA, *VIEW, "--rate", "5"),
        Process(*NODE, *SPACE[1:]),
        web_console() as (console, address),
        browser() as running,
    ):
        node = Node("test_graph", context=context)
        yield World(known_scene(), node, address, running)
        node.destroy_node()
        assert "Traceback" not in console.text()


@pytest.fixture
def page(world: World) -> Iterator[Page]:
    """The page, with a query of two things that are there and one that is not."""
    context = world.browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WAIT_MS * slowdown())
    problems = problems_of(page)
    page.goto(world.address)
    expect(page.locator("#status")).to_have_attribute("data-level", re.compile("[01]"))  # is there
    ask(page, "; ".join([*world.scene.names, "wrench"]))
    yield page
    context.close()
    assert not [each for each in problems if TRIED not in each]


def ask(page: Page, text: str) -> None:
    """Ask by typing, and wait until every label has a result."""
    page.get_by_label("What to look for").fill(text)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#label-list > li")).to_have_count(len(text.split(";")))
    expect(page.locator(".found", has_text="waiting")).to_have_count(0)


def pixels(page: Page) -> NDArray[np.uint8]:
    """Return what the picture shows, (480, 640, 3)."""
    png = page.locator("#picture").screenshot()
    return np.array(Image.open(io.BytesIO(png)).convert("RGB").resize((640, 480)))


def freeze(page: Page) -> None:
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("button", name="Frozen")).to_be_visible()


def test_a_query_shows_the_masks_of_the_right_objects_and_why_others_are_absent(
    world: World, page: Page
) -> None:
    for name in world.scene.names:
        label = page.locator("#label-list > li", has_text=name)
        expect(label.locator(".found")).to_have_text("found")
        presence = label.get_by_role("meter", name=f"Presence of {name}")
        assert float(presence.get_attribute("aria-valuenow")) > 0.5
    absent = page.locator("#label-list > li", has_text="wrench")
    expect(absent.locator(".found")).to_contain_text("not found: its presence is")
    assert float(absent.get_by_role("meter").get_attribute("aria-valuenow")) < 0.5
    freeze(page)
    page.locator("#show-names").uncheck()
    with_masks = pixels(page).astype(int)
    page.locator("#show-masks").uncheck()
    changed = np.abs(with_masks - pixels(page)).max(axis=2) > 2
    truth = np.any([world.scene.label_mask(name) for name in world.scene.names], axis=0)
    assert overlap(changed, truth) > 0.65


def test_maps_are_read_on_hover_or_click_and_the_node_is_left_alone_otherwise(
    world: World, page: Page
) -> None:
    maps, segments = "/clip_surgery/heatmaps", "/clip_surgery/segments"
    assert (world.readers(maps), world.readers(segments)) == (0, 1)
    page.get_by_role("button", name="Map of teapot").click()
    wait_until(lambda: world.readers(maps) == 1)
    page.locator("#show-names").uncheck()
    row, column = (int(v.mean()) for v in np.nonzero(world.scene.label_mask("teapot")))

    def is_hot() -> bool:
        bright = pixels(page).sum(axis=2)
        near = bright[row - 15 : row + 15, column - 15 : column + 15].mean()
        return near > np.percentile(bright, 80)

    wait_until(is_hot)
    page.get_by_role("button", name="Map of teapot").click()
    page.mouse.move(5, 5)
    wait_until(lambda: world.readers(maps) == 0)
    page.locator("#label-list > li").first.hover()
    wait_until(lambda: world.readers(maps) == 1)
    page.close()
    wait_until(lambda: world.readers(maps) + world.readers(segments) == 0)
    kinds = {type_name(SegmentArray)}
    topics = dict(world.node.get_topic_names_and_types())
    assert set(topics[segments]) == kinds


def test_what_is_here_names_the_object_and_the_similarity_of_each_label(
    world: World, page: Page
) -> None:
    row, column = (int(v.mean()) for v in np.nonzero(world.scene.label_mask("teapot")))
    box = page.locator("#picture").bounding_box()
    scale = box["width"] / 640
    page.locator("#picture").click(position={"x": column * scale, "y": row * scale})
    here = page.get_by_role("region", name="What is here")
    expect(here.get_by_role("heading")).to_contain_text("Here: teapot")
    rows = here.get_by_role("listitem")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("teapot")
    page.locator("#picture").press("Escape")
    expect(here).to_be_hidden()


def test_frozen_pictures_are_stepped_and_saved_as_pictures_and_json(
    world: World, page: Page
) -> None:
    freeze(page)
    wait_until(lambda: world.readers("/clip_surgery/segments") == 0)

    def report() -> dict[str, Any]:
        with page.expect_download() as download:
            page.get_by_role("button", name="Save report").click()
        with zipfile.ZipFile(download.value.path()) as files:
            assert files.testzip() is None
            assert {"report.json", "picture.jpg", "drawn.png"} == set(files.namelist())
            assert Image.open(files.open("picture.jpg")).size == (640, 480)
            assert Image.open(files.open("drawn.png")).size[0] > 640
            return json.loads(files.read("report.json"))

    first = report()
    assert first["heatmaps"]["stamp"] == first["frame"]["stamp"], "a frozen frame has its maps"
    assert {segment["label"] for segment in first["frame"]["segments"]} == set(world.scene.names)
    assert first["state"]["status"]["values"]
    page.get_by_role("button", name="Step").click()
    wait_until(lambda: world.readers("/clip_surgery/segments") == 1)
    wait_until(lambda: world.readers("/clip_surgery/segments") == 0)
    assert float(report()["frame"]["stamp"]) > float(first["frame"]["stamp"])
    page.get_by_role("button", name="Frozen").click()
    wait_until(lambda: world.readers("/clip_surgery/segments") == 1)


def test_objects_are_shown_in_space(world: World, page: Page) -> None:
    page.get_by_text("Objects in space").click()
    rows = page.locator("#space-table tbody tr")
    expect(rows).to_have_count(2)
    expect(page.locator("#space-note")).to_contain_text("In world")
    position = rows.first.locator("td").first.inner_text()
    x, y, z = map(float, position.split(","))
    assert abs(x) < 1 and abs(y) < 1 and 0 < z < 0.3, "on the table, whose top is z = 0"
    view = page.get_by_role("img", name=re.compile("Boxes in space: .*teapot"))
    expect(view).to_be_visible()
    shown = np.array(Image.open(io.BytesIO(view.screenshot())).convert("RGB"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 50, "something is drawn"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_and_its_text_has_contrast(
    world: World, page: Page, theme: str, width: int
) -> None:
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "no sideways scrolling"
    low = page.evaluate(CONTRASTS)
    assert min(ratio for _, ratio in low) >= LEAST_CONTRAST, [x for x in low if x[1] < 4.5]
    small = page.evaluate(SMALL_TARGETS)
    assert not small, small


CONTRASTS = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.7) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((one) => one.checkVisibility() && !one.disabled)
    .filter((one) => [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((one) => {
      const [a, b] = [parse(getComputedStyle(one).color), ground(one)].map(light);
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return [one.textContent.trim().slice(0, 40), ratio];
    });
}"""
SMALL_TARGETS = """() => [...document.querySelectorAll("button, input, select, summary")]
  .filter((one) => one.checkVisibility())
  .map((one) => [one.id || one.textContent, (one.closest("label") ?? one).getBoundingClientRect()])
  .filter(([, box]) => box.height < 24 || box.width < 24)
  .map(([name]) => name)"""


def test_everything_can_be_done_with_the_keyboard_alone(world: World, page: Page) -> None:
    page.get_by_role("heading", name="clip_surgery").click()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the link that skips to the query
    page.keyboard.press("Control+A")
    page.keyboard.type("bowl; teapot")
    page.keyboard.press("Enter")
    expect(page.locator("#label-list > li")).to_have_count(2)
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent")
        )
        if reached[-1] == "picture":
            page.keyboard.press("ArrowRight")
            expect(page.get_by_role("region", name="What is here")).to_be_visible()
            page.keyboard.press("Escape")
        if reached[-1] == "map":
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Map of bowl")).to_have_attribute(
                "aria-pressed", "true"
            )
            break
    assert {"picture", "freeze", "step", "save", "show-masks", "map"} <= set(reached)
    is_seen = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
    assert page.evaluate(is_seen), "the focus is visible"


def test_screen_readers_get_a_name_for_every_control(world: World, page: Page) -> None:
    page.get_by_text("threshold: the node's").first.click()
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    named: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            role = node["role"]["value"]
            named.setdefault(role, []).append(node.get("name", {}).get("value", "").strip())
    for role in (
        "button",
        "textbox",
        "combobox",
        "checkbox",
        "meter",
        "spinbutton",
        "application",
    ):
        assert all(named.get(role, [])), (role, named.get(role))
    assert {"Ask", "Freeze", "Step", "Save report", "Map of teapot"} <= set(named["button"])
    summary = page.locator("#picture-summary")
    expect(summary).to_contain_text(re.compile(r"Found: .*teapot.* Not found: wrench\."))


def test_labels_are_text_and_never_code(world: World, page: Page) -> None:
    hostile = "<img src=x onerror=window.hacked=1>"
    page.get_by_label("What to look for").fill(hostile)
    page.keyboard.press("Enter")
    expect(page.locator(".label-name")).to_have_text([hostile])
    expect(page.locator("#recent button").first).to_have_text(hostile)
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return ''; }"
        " catch (error) { return error.name; } }"
    )
    assert refused == "TypeError", "the policy forbids HTML from text"


def test_a_threshold_of_a_label_is_set_and_given_back(world: World, page: Page) -> None:
    label = page.locator("#label-list > li", has_text="teapot")
    label.get_by_text("threshold: the node's").click()
    label.get_by_role("spinbutton").fill("0.95")
    page.keyboard.press("Tab")
    expect(label.get_by_text("threshold: 0.95")).to_be_visible()
    expect(label.locator(".found")).to_contain_text("similarity of 0.950")
    label.get_by_role("button", name="Use the node's threshold for teapot").click()
    expect(label.locator(".found")).to_have_text("found")


def test_the_history_remembers_queries(world: World, page: Page) -> None:
    ask(page, "bowl")
    page.reload()
    recent = page.locator("#recent button")
    expect(recent.first).to_have_text("bowl")
    recent.nth(1).click()
    expect(page.locator("#label-list > li")).to_have_count(3)


def test_the_page_comes_back_by_itself_when_the_console_does(world: World) -> None:
    context = world.browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT_MS * slowdown())
    with web_console() as (_, address):
        page.goto(address)
        expect(page.locator("#status")).not_to_contain_text("connect")
    expect(page.locator("#status")).to_contain_text("no connection to the console")
    port = address.rpartition(":")[2]
    with Process(*WEB[:-1], port) as again:
        again.wait_for_line("open http")
        expect(page.locator("#status")).not_to_contain_text("connection")
        expect(page.locator("#picture-note")).to_be_hidden()
    context.close()
