"""Draw the rooms of the code and the imports between them: ``python docs/draw_rooms.py``.

Writes ``docs/rooms.png``. The rows are those of ``[tool.importlinter]`` in ``pyproject.toml``; the
arrows are read from the imports. Run it again when ``test/test_architecture.py`` asks for it.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "clip_surgery_ros"
PICTURE = ROOT / "docs" / "rooms.png"
METADATA = "Description"
"""Entry of the picture's metadata that holds its arrows."""
ROOMS = {
    "tools": (7.93, "command line"),
    "benchmark": (5.82, "time and memory"),
    "demo": (10.27, "camera and query"),
    "node": (6.08, "lifecycle node"),
    "training": (8.2, "demo networks"),
    "recorded": (3.22, "bags, labelled"),
    "web": (12.3, "in a browser"),
    "evaluation": (3.93, "quality of masks"),
    "rerun_bridge": (0.95, "for a viewer"),
    "networks": (12.3, "CLIP and SAM"),
    "ros": (8.61, "messages, QoS"),
    "tracks": (1.19, "ids that last"),
    "parameters": (5.78, "what a user sets"),
    "pictures": (10.96, "files, drawings"),
    "space": (0.95, "places in metres"),
    "world": (3.75, "generated scenes"),
    "arithmetic": (11.87, "fast layers"),
    "weights": (6.57, "weight files"),
    "core": (5.49, "the method"),
}
"""Where a room is drawn in its row, and what is written below its name."""
Arrows = list[tuple[str, str]]


def layers() -> list[list[str]]:
    """Return the rows of rooms, the top one first, as the import linter holds them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (rows,) = (entry["layers"] for entry in settings["contracts"] if entry["type"] == "layers")
    return [[room.strip() for room in row.split("|")] for row in rows]


def imports() -> Arrows:
    """Return (importing room, imported room) of every two rooms, from the source tree."""
    import grimp

    sys.path.insert(0, str(ROOT))
    try:
        graph = grimp.build_graph(PACKAGE, cache_dir=None)
    finally:
        sys.path.remove(str(ROOT))
    arrows = {
        (module.split(".")[1], imported.split(".")[1])
        for module in graph.modules - {PACKAGE}
        for imported in graph.find_modules_directly_imported_by(module) - {PACKAGE}
    }
    return sorted((a, b) for a, b in arrows if a != b and {a, b} <= ROOMS.keys())


def without_detours(arrows: Arrows) -> Arrows:
    """Return the arrows that no chain of other arrows implies.

    >>> without_detours([("a", "b"), ("a", "c"), ("b", "c")])
    [('a', 'b'), ('b', 'c')]
    """

    def reaches(start: str, end: str) -> bool:
        return any(a == start and (b == end or reaches(b, end)) for a, b in arrows)

    return [
        (start, end)
        for start, end in arrows
        if not any(a == start and b != end and reaches(b, end) for a, b in arrows)
    ]


def as_text(arrows: Arrows) -> str:
    """Return the arrows as the picture's metadata holds them."""
    return "; ".join(f"{start} -> {end}" for start, end in arrows)


def draw(arrows: Arrows, path: Path = PICTURE) -> None:
    """Write the picture of the rooms, with arrows from the importing to the imported room."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import FancyBboxPatch

    rows = layers()
    figure, axes = plt.subplots(figsize=(13, 8.4))
    boxes = {}
    for index, row in enumerate(rows):
        y = len(rows) - 1 - index
        axes.axhspan(y - 0.5, y + 0.5, color="0.96" if index % 2 else "white", zorder=0)
        for room in row:
            x, subtitle = ROOMS[room]
            box = FancyBboxPatch(
                (x - 0.85, y - 0.2),
                1.7,
                0.4,
                "round,pad=0.03",
                fc="#dbe9f6",
                ec="#1f5f99",
                zorder=3,
            )
            boxes[room] = axes.add_patch(box)
            axes.text(x, y + 0.07, room, ha="center", va="center", weight="bold", zorder=4)
            axes.text(x, y - 0.11, subtitle, ha="center", va="center", size=8, zorder=4)
    height = {room: len(rows) - 1 - i for i, row in enumerate(rows) for room in row}
    for start, end in arrows:
        axes.annotate(
            "",
            (ROOMS[end][0], height[end]),
            (ROOMS[start][0], height[start]),
            arrowprops={
                "arrowstyle": "-|>",
                "patchA": boxes[start],
                "patchB": boxes[end],
                "shrinkA": 0,
                "shrinkB": 1,
                "color": "0.35",
            },
            zorder=2,
        )
    axes.set(xlim=(0.0, 13.25), ylim=(-0.5, len(rows) - 0.5))
    axes.axis("off")
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={METADATA: as_text(arrows)})
    plt.close(figure)


if __name__ == "__main__":
    draw(without_detours(imports()))
    print(f"{PICTURE.relative_to(ROOT)} is written")
