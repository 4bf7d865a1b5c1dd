"""Names of the classes of data sets, as the data sets have them and as papers give them to CLIP.

The lists are those of PASCAL VOC (Everingham et al. 2010), PASCAL Context (Mottaghi et al. 2014),
COCO (Lin et al. 2014) and COCO-Stuff (Caesar et al. 2018). Synonyms are those of SCLIP (Wang et
al. 2024, ``configs/cls_*.txt``), which NACLIP has too, and of ClearCLIP (Lan et al. 2024).
"""

from __future__ import annotations

Names = tuple[str, ...]
"""The names of one class; the highest of them counts."""

VOC_NAMES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""Classes 1 to 20 of PASCAL VOC (Everingham et al. 2010)."""
VOC_SPOKEN: tuple[str, ...] = tuple(
    {"boat": "ship", "diningtable": "table"}.get(name, name) for name in VOC_NAMES
)
"""The classes of VOC as SCLIP, NACLIP and ClearCLIP name them."""
_SPACED = {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}
VOC_SPACED: tuple[str, ...] = tuple(
    {"aeroplane": "airplane", **_SPACED}.get(name, name) for name in VOC_NAMES
)
"""The classes of VOC written as :data:`CONTEXT_SPOKEN`."""
CONTEXT_NAMES: tuple[str, ...] = (
    "aeroplane", "bag", "bed", "bedclothes", "bench", "bicycle", "bird", "boat", "book", "bottle",
    "building", "bus", "cabinet", "car", "cat", "ceiling", "chair", "cloth", "computer", "cow",
    "cup", "curtain", "dog", "door", "fence", "floor", "flower", "food", "grass", "ground",
    "horse", "keyboard", "light", "motorbike", "mountain", "mouse", "person", "plate", "platform",
    "pottedplant", "road", "rock", "sheep", "shelves", "sidewalk", "sign", "sky", "snow", "sofa",
    "table", "track", "train", "tree", "truck", "tvmonitor", "wall", "water", "window", "wood",
)  # fmt: skip
"""Classes 1 to 59 of PASCAL Context as mmsegmentation writes them."""
CONTEXT_SPOKEN: tuple[str, ...] = tuple(
    {"aeroplane": "airplane", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}.get(n, n)
    for n in CONTEXT_NAMES
)
"""The same as the demonstration of CLIP Surgery's authors writes them."""
COCO_NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes of COCO's objects."""
STUFF_NAMES: tuple[str, ...] = (
    "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage",
    "cardboard", "carpet", "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds",
    "counter", "cupboard", "curtain", "desk-stuff", "dirt", "door-stuff", "fence", "floor-marble",
    "floor-other", "floor-stone", "floor-tile", "floor-wood", "flower", "fog", "food-other",
    "fruit", "furniture-other", "grass", "gravel", "ground-other", "hill", "house", "leaves",
    "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net", "paper",
    "pavement", "pillow", "plant-other", "plastic", "platform", "playingfield", "railing",
    "railroad", "river", "road", "rock", "roof", "rug", "salad", "sand", "sea", "shelf",
    "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone", "straw",
    "structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable",
    "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile",
    "wall-wood", "water-other", "waterdrops", "window-blind", "window-other", "wood",
)  # fmt: skip
"""The 91 classes of COCO-Stuff that follow its 80 objects."""
BACKGROUND: Names = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk",
    "bed", "building", "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf",
    "curtain", "stair", "floor", "hill", "rail", "fence",
)  # fmt: skip
"""Names of the background in SCLIP and NACLIP, for VOC and COCO-Object."""
PERSON: Names = (
    "person", "person in shirt", "person in jeans", "person in dress", "person in sweater",
    "person in skirt", "person in jacket",
)  # fmt: skip
"""Names of a person in SCLIP and NACLIP; for COCO-Object "body" follows."""
SCREEN: Names = (
    "television monitor", "tv monitor", "monitor", "television", "screen",
)  # fmt: skip
"""Names of VOC's last class in SCLIP and NACLIP."""


def each(names: tuple[str, ...]) -> tuple[Names, ...]:
    """Return classes with one name each.

    >>> each(("mug", "saw"))
    (('mug',), ('saw',))
    """
    return tuple((name,) for name in names)


def with_synonyms(names: tuple[str, ...], *, of_body: bool = False) -> tuple[Names, ...]:
    """Return the classes with SCLIP's synonyms of a person and of a screen.

    :param of_body: whether "body" is a name of a person.
    """
    person = (*PERSON, "body") if of_body else PERSON
    synonyms = {"person": person, "tvmonitor": SCREEN}
    return tuple(synonyms.get(name, (name,)) for name in names)
