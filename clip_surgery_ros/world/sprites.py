"""The demo's objects: about 150 everyday things, drawn from one sprite sheet.

The sheet (``assets/sprites.png``, RGBA, one square cell per object) was rendered once from the
Noto Color Emoji font; see ``assets/ATTRIBUTION.md``. No font is needed to use it. To render it
again: ``python -m clip_surgery_ros.world.sprites FONT.ttf``.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

CELL = 128
"""Side of a cell in pixels: the font's own bitmaps are 136 x 128."""
COLUMNS = 16
_FONT_SIZE = 109  # the only bitmap size in the font

OBJECTS: tuple[tuple[str, str], ...] = (
    # food
    ("red apple", "🍎"), ("green apple", "🍏"), ("banana", "🍌"), ("orange", "🍊"),
    ("lemon", "🍋"), ("watermelon", "🍉"), ("grapes", "🍇"), ("strawberry", "🍓"),
    ("cherries", "🍒"), ("peach", "🍑"), ("pineapple", "🍍"), ("kiwi", "🥝"),
    ("tomato", "🍅"), ("avocado", "🥑"), ("eggplant", "🍆"), ("potato", "🥔"),
    ("carrot", "🥕"), ("corn", "🌽"), ("broccoli", "🥦"), ("mushroom", "🍄"),
    ("bread", "🍞"), ("croissant", "🥐"), ("pretzel", "🥨"), ("cheese", "🧀"),
    ("hamburger", "🍔"), ("pizza", "🍕"), ("hot dog", "🌭"), ("taco", "🌮"),
    ("frying pan", "🍳"), ("sushi", "🍣"), ("donut", "🍩"), ("cookie", "🍪"),
    ("birthday cake", "🎂"), ("chocolate bar", "🍫"), ("lollipop", "🍭"), ("honey pot", "🍯"),
    ("ice cream", "🍦"), ("popcorn", "🍿"), ("pear", "🍐"),
    # drinks and kitchen
    ("milk", "🥛"), ("coffee", "☕"), ("teapot", "🫖"), ("wine glass", "🍷"),
    ("beer mug", "🍺"), ("baby bottle", "🍼"), ("spoon", "🥄"), ("knife", "🔪"),
    ("bowl", "🥣"), ("salt shaker", "🧂"), ("juice box", "🧃"),
    # tools
    ("hammer", "🔨"), ("wrench", "🔧"), ("screwdriver", "🪛"), ("saw", "🪚"),
    ("axe", "🪓"), ("pickaxe", "⛏"), ("nut and bolt", "🔩"), ("gear", "⚙"),
    ("toolbox", "🧰"), ("magnet", "🧲"), ("scissors", "✂"),
    ("ruler", "📏"), ("pencil", "✏"), ("paintbrush", "🖌"),
    ("flashlight", "🔦"), ("fire extinguisher", "🧯"), ("key", "🔑"), ("padlock", "🔒"),
    ("battery", "🔋"), ("electric plug", "🔌"), ("bucket", "🪣"),
    # household
    ("chair", "🪑"), ("couch", "🛋"), ("bed", "🛏"), ("door", "🚪"),
    ("window", "🪟"), ("mirror", "🪞"), ("toilet", "🚽"),
    ("broom", "🧹"), ("sponge", "🧽"), ("soap", "🧼"), ("toothbrush", "🪥"),
    ("plunger", "🪠"), ("basket", "🧺"), ("light bulb", "💡"), ("candle", "🕯"),
    ("alarm clock", "⏰"), ("watch", "⌚"), ("hourglass", "⌛"), ("television", "📺"),
    ("laptop", "💻"), ("telephone", "☎"), ("mobile phone", "📱"), ("camera", "📷"),
    ("radio", "📻"), ("printer", "🖨"), ("computer mouse", "🖱"), ("book", "📕"),
    ("newspaper", "📰"), ("envelope", "✉"), ("package", "📦"), ("mailbox", "📫"),
    ("potted plant", "🪴"), ("cactus", "🌵"),
    ("sunflower", "🌻"), ("tulip", "🌷"), ("umbrella", "☂"), ("bell", "🔔"),
    # toys, sport and music
    ("teddy bear", "🧸"), ("balloon", "🎈"),
    ("dice", "🎲"), ("puzzle piece", "🧩"), ("soccer ball", "⚽"), ("basketball", "🏀"),
    ("baseball", "⚾"), ("tennis racket", "🎾"), ("football", "🏈"), ("bowling pins", "🎳"),
    ("boxing glove", "🥊"), ("trophy", "🏆"), ("guitar", "🎸"), ("trumpet", "🎺"),
    ("violin", "🎻"), ("drum", "🥁"), ("game controller", "🎮"), ("gift", "🎁"),
    # clothes
    ("t-shirt", "👕"), ("jeans", "👖"), ("dress", "👗"), ("coat", "🧥"),
    ("socks", "🧦"), ("scarf", "🧣"), ("sneaker", "👟"),
    ("boot", "👢"), ("cap", "🧢"), ("top hat", "🎩"), ("backpack", "🎒"),
    ("handbag", "👜"), ("glasses", "👓"), ("crown", "👑"),
    # vehicles
    ("car", "🚗"), ("taxi", "🚕"), ("bus", "🚌"), ("fire truck", "🚒"),
    ("truck", "🚚"), ("tractor", "🚜"), ("bicycle", "🚲"),
    ("airplane", "✈"), ("helicopter", "🚁"), ("rocket", "🚀"), ("sailboat", "⛵"),
)  # fmt: skip
"""Name and emoji of every object, in the order of the sheet's cells."""

NAMES: tuple[str, ...] = tuple(name for name, _ in OBJECTS)


@lru_cache(maxsize=1)
def load_sprites() -> NDArray[np.float32]:
    """Read the sheet.

    :returns: (K, CELL, CELL, 4) float32 RGBA in [0, 1], colour premultiplied by alpha, so that
        it can be resized and rotated without fringes.
    :raises FileNotFoundError: if the package was installed without its assets.
    """
    with resources.as_file(resources.files(__package__) / "assets" / "sprites.png") as path:
        sheet = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if sheet is None:
        raise FileNotFoundError("sprite sheet assets/sprites.png is missing from the package")
    rgba = cv2.cvtColor(sheet, cv2.COLOR_BGRA2RGBA).astype(np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    rows = sheet.shape[0] // CELL
    cells = rgba.reshape(rows, CELL, COLUMNS, CELL, 4).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(cells.reshape(-1, CELL, CELL, 4)[: len(OBJECTS)])


def render_sheet(font_path: Path) -> NDArray[np.uint8]:
    """Draw every object with the font, centred and scaled to fill its cell.

    :returns: (rows * CELL, COLUMNS * CELL, 4) uint8 RGBA.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(str(font_path), _FONT_SIZE)
    rows = -(-len(OBJECTS) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    for index, (name, emoji) in enumerate(OBJECTS):
        glyph = Image.new("RGBA", (160, 160))
        ImageDraw.Draw(glyph).text((8, 8), emoji, font=font, embedded_color=True)
        box = glyph.getchannel("A").getbbox()
        if box is None:
            raise ValueError(f"the font {font_path} has no glyph for {name} ({emoji!r})")
        glyph = glyph.crop(box)
        scale = (CELL - 4) / max(glyph.size)
        size = (max(1, round(glyph.width * scale)), max(1, round(glyph.height * scale)))
        glyph = glyph.resize(size, Image.Resampling.LANCZOS)
        row, column = divmod(index, COLUMNS)
        corner = (
            column * CELL + (CELL - size[0]) // 2,
            row * CELL + (CELL - size[1]) // 2,
        )
        sheet.paste(glyph, corner)
    return np.asarray(sheet)


def main() -> None:
    """Render the sheet from a font file into the package's assets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("font", type=Path)
    out = Path(__file__).parent / "assets" / "sprites.png"
    sheet = render_sheet(parser.parse_args().font)
    cv2.imwrite(str(out), cv2.cvtColor(sheet, cv2.COLOR_RGBA2BGRA))


if __name__ == "__main__":
    main()
