"""What published figures were measured on and how, and the figures themselves.

A protocol is a data set with the rules of a paper: class names and prompts, the size of the
pictures, windows, background. The facts were read in the papers and in the authors' repositories
(commits b56bd30 of SCLIP, 0cac3a6 of NACLIP, ad68a40 of ClearCLIP, d4696d4 of CLIP Surgery; issues
8, 17 and 32 of the last). This module imports nothing heavy: the command line shows its names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from clip_surgery_ros.core.errors import ConfigError
from clip_surgery_ros.core.templates import IMAGENET_TEMPLATES, TEMPLATES
from clip_surgery_ros.evaluation.class_names import (
    BACKGROUND,
    COCO_NAMES,
    CONTEXT_NAMES,
    CONTEXT_SPOKEN,
    STUFF_NAMES,
    VOC_SPACED,
    VOC_SPOKEN,
    Names,
    each,
    with_synonyms,
)

PLAIN, SURGERY = "CLIP", "CLIP Surgery"
"""The two methods that are measured: the network as it is, and with surgery."""


@dataclass(frozen=True)
class Rules:
    """How a picture becomes a map of classes.

    :param templates: prompts over which the feature of a name is averaged.
    :param short_side: pixels of the shorter side after resizing with kept aspect, the longer one
        being at most 2048; None squashes the picture to the square of ``clip_input_size``.
    :param window: side in pixels of the windows whose cosines are averaged; 0 for none.
    :param stride: pixels from window to window.
    :param scale: by which cosines are multiplied before the softmax over all names.
    :param least_probability: below which the class of the highest probability gives way to the
        background, class 0.
    :param least_share: share of the foreground's pixels that a class must exceed, else it is
        no candidate.
    """

    templates: tuple[str, ...]
    short_side: int | None = None
    window: int = 0
    stride: int = 0
    scale: float = 100.0
    least_probability: float = 0.0
    least_share: float = 0.0


@dataclass(frozen=True)
class Figure:
    """A published mIoU.

    :param method: as the source names it, or :data:`PLAIN` or :data:`SURGERY` where it is ours.
    :param miou: percent.
    :param source: where it stands.
    """

    method: str
    miou: float
    source: str


@dataclass(frozen=True)
class Protocol:
    """A data set with the rules of a paper.

    :param dataset: one of :data:`DATASETS`.
    :param paper: one of :data:`PAPERS`.
    :param classes: the names of each class, class 0 first; with a background, that is class 0.
    :param explains: whether maps are compared with each label that is in the picture, instead of
        one map of all classes. The background is then none of ``classes``.
    """

    dataset: str
    paper: str
    classes: tuple[Names, ...]
    rules: Rules
    published: tuple[Figure, ...] = ()
    explains: bool = False

    @property
    def name(self) -> str:
        """Data set and paper, for messages."""
        return f"{self.dataset}, rules of {PAPERS[self.paper]}"


PAPERS: Mapping[str, str] = {
    "clip-surgery": "CLIP Surgery (Li et al., arXiv 2304.05653)",
    "sclip": "SCLIP (Wang et al., arXiv 2312.01597)",
    "naclip": "NACLIP (Hajimiri et al., arXiv 2404.08181)",
    "clearclip": "ClearCLIP (Lan et al., arXiv 2407.12442)",
}
"""Papers by the values of ``--paper``. The first one with rules for a data set is its default."""
DATASETS: Mapping[str, tuple[int, ...]] = {
    "voc20": (1449,),
    "voc21": (1449,),
    "context59": (5104, 5105),
    "context60": (5104, 5105),
    "coco-object": (5000,),
    "coco-stuff": (5000,),
    "explain-voc": (1449,),
    "explain-context": (5104, 5105),
    "explain-coco": (5000,),
}
"""Numbers of pictures of published figures, by the values of ``--protocol``. The list that
mmsegmentation writes for PASCAL Context has one picture less than the data set."""

_SURGERY_TABLE = "CLIP Surgery, arXiv 2304.05653, table 6: ViT-B/16"
_SCLIP_TABLE = "SCLIP, README of wangf3014/SCLIP: ViT-B/16"
_NACLIP_TABLE = "NACLIP, README of sinahmr/NACLIP: ViT-B/16, refined by PAMR"
_CLEAR_TABLE = "ClearCLIP, table 2 of its appendix (mc-lan/ClearCLIP): ViT-B/16"

_SQUASHED = Rules(TEMPLATES)
_SCLIP = Rules(IMAGENET_TEMPLATES, 336, 224, 112, scale=40)
_NACLIP = _SCLIP
_CLEARCLIP = Rules(IMAGENET_TEMPLATES, 448, 448, 224, scale=50)

_VOC_SYNONYMS = with_synonyms(VOC_SPOKEN)
_OBJECT_SYNONYMS = (BACKGROUND, *with_synonyms(COCO_NAMES, of_body=True))
_STUFF = each(COCO_NAMES + STUFF_NAMES)
_STUFF_JOINED = each(tuple(name.replace(" ", "") for name in COCO_NAMES) + STUFF_NAMES)
_PLAIN_BACKGROUND: Names = ("background",)


def _figures(source: str, **miou: float) -> tuple[Figure, ...]:
    """Return figures of one source; the keyword ``CLIP_Surgery`` stands for :data:`SURGERY`."""
    return tuple(Figure(name.replace("_", " "), value, source) for name, value in miou.items())


_ALL: tuple[Protocol, ...] = (
    Protocol(
        "context59",
        "clip-surgery",
        each(CONTEXT_SPOKEN),
        _SQUASHED,
        _figures(_SURGERY_TABLE, CLIP_Surgery=29.3, MaskCLIP=22.4),
    ),
    Protocol(
        "coco-stuff",
        "clip-surgery",
        _STUFF,
        _SQUASHED,
        _figures(_SURGERY_TABLE, CLIP_Surgery=21.9, MaskCLIP=15.3),
    ),
    Protocol("explain-voc", "clip-surgery", each(VOC_SPACED), _SQUASHED, explains=True),
    Protocol("explain-context", "clip-surgery", each(CONTEXT_SPOKEN), _SQUASHED, explains=True),
    Protocol("explain-coco", "clip-surgery", each(COCO_NAMES), _SQUASHED, explains=True),
    Protocol("voc20", "sclip", _VOC_SYNONYMS, _SCLIP, _figures(_SCLIP_TABLE, SCLIP=81.54)),
    Protocol(
        "voc21",
        "sclip",
        (BACKGROUND, *_VOC_SYNONYMS),
        replace(_SCLIP, scale=65, least_probability=0.1, least_share=0.1),
        _figures(_SCLIP_TABLE, SCLIP=59.63),
    ),
    Protocol(
        "context59", "sclip", each(CONTEXT_NAMES), _SCLIP, _figures(_SCLIP_TABLE, SCLIP=34.46)
    ),
    Protocol(
        "context60",
        "sclip",
        (_PLAIN_BACKGROUND, *each(CONTEXT_NAMES)),
        replace(_SCLIP, scale=50, least_probability=0.1),
        _figures(_SCLIP_TABLE, SCLIP=31.74),
    ),
    Protocol(
        "coco-object",
        "sclip",
        _OBJECT_SYNONYMS,
        replace(_SCLIP, scale=50, least_probability=0.1),
        _figures(_SCLIP_TABLE, SCLIP=33.52),
    ),
    Protocol(
        "coco-stuff",
        "sclip",
        _STUFF_JOINED,
        replace(_SCLIP, short_side=448),
        _figures(_SCLIP_TABLE, SCLIP=22.77),
    ),
    Protocol(
        "voc20",
        "naclip",
        _VOC_SYNONYMS,
        replace(_NACLIP, window=0, stride=0),
        _figures(_NACLIP_TABLE, NACLIP=83.03),
    ),
    Protocol(
        "voc21",
        "naclip",
        (BACKGROUND, *_VOC_SYNONYMS),
        replace(_NACLIP, window=0, stride=0, least_probability=0.1),
        _figures(_NACLIP_TABLE, NACLIP=64.07),
    ),
    Protocol(
        "context59", "naclip", each(CONTEXT_NAMES), _NACLIP, _figures(_NACLIP_TABLE, NACLIP=38.35)
    ),
    Protocol(
        "context60",
        "naclip",
        (_PLAIN_BACKGROUND, *each(CONTEXT_NAMES)),
        replace(_NACLIP, least_probability=0.1),
        _figures(_NACLIP_TABLE, NACLIP=34.99),
    ),
    Protocol(
        "coco-object",
        "naclip",
        _OBJECT_SYNONYMS,
        replace(_NACLIP, least_probability=0.1),
        _figures(_NACLIP_TABLE, NACLIP=36.19),
    ),
    Protocol(
        "coco-stuff", "naclip", _STUFF_JOINED, _NACLIP, _figures(_NACLIP_TABLE, NACLIP=25.69)
    ),
    Protocol(
        "voc20",
        "clearclip",
        each(VOC_SPOKEN),
        _CLEARCLIP,
        _figures(_CLEAR_TABLE, CLIP=41.8, MaskCLIP=74.9, SCLIP=78.2, GEM=79.9, ClearCLIP=80.9),
    ),
    Protocol(
        "voc21",
        "clearclip",
        (_PLAIN_BACKGROUND, *each(VOC_SPOKEN)),
        replace(_CLEARCLIP, least_probability=0.5),
    ),
    Protocol(
        "context59",
        "clearclip",
        each(CONTEXT_NAMES),
        _CLEARCLIP,
        _figures(_CLEAR_TABLE, CLIP=9.2, MaskCLIP=26.4, SCLIP=33.0, GEM=35.9, ClearCLIP=35.9),
    ),
    Protocol(
        "context60",
        "clearclip",
        (_PLAIN_BACKGROUND, *each(CONTEXT_NAMES)),
        replace(_CLEARCLIP, least_probability=0.15),
    ),
    Protocol(
        "coco-object",
        "clearclip",
        (_PLAIN_BACKGROUND, *each(COCO_NAMES)),
        replace(_CLEARCLIP, least_probability=0.4),
    ),
    Protocol(
        "coco-stuff",
        "clearclip",
        _STUFF_JOINED,
        _CLEARCLIP,
        _figures(_CLEAR_TABLE, CLIP=4.4, MaskCLIP=16.4, SCLIP=21.1, GEM=23.7, ClearCLIP=23.9),
    ),
)
PROTOCOLS: Mapping[tuple[str, str], Protocol] = {(p.dataset, p.paper): p for p in _ALL}
"""By data set and paper."""


def find_protocol(dataset: str, paper: str | None = None) -> Protocol:
    """Return the protocol of a data set: that of a paper, or of the first that has one.

    :raises ConfigError: when the paper has none for this data set.

    >>> find_protocol("context59").paper, find_protocol("voc20").paper
    ('clip-surgery', 'sclip')
    """
    papers = [name for name in PAPERS if (dataset, name) in PROTOCOLS]
    if paper is not None and paper not in papers:
        raise ConfigError(
            f"--paper {paper} has no rules for {dataset}; those of {', '.join(papers)} are here"
        )
    return PROTOCOLS[dataset, paper or papers[0]]
