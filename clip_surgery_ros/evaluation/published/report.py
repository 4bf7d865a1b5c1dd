"""The figures of a protocol beside the published ones, as Markdown tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clip_surgery_ros.evaluation.published.confusion import SegmentationFigures
from clip_surgery_ros.evaluation.published.explainability import MapFigures
from clip_surgery_ros.evaluation.published.protocols import (
    DATASETS,
    PAPERS,
    SURGERY,
    Figure,
    Protocol,
)
from clip_surgery_ros.evaluation.published.tallies import Figures
from clip_surgery_ros.evaluation.tables import header, row, write_tables

OWN_ATTENTION = "v-v"
"""The attention that CLIP Surgery's published figures are about."""


@dataclass(frozen=True)
class ProtocolReport:
    """What was measured by a protocol.

    :param figures: by method.
    :param pictures: number of pictures; ``all_pictures`` that of the data set in the folder.
    :param network: the CLIP and its file.
    :param attention: of surgery.
    :param precision: of the network.
    :param input_size: side in pixels of squashed pictures.
    """

    protocol: Protocol
    figures: Mapping[str, Figures]
    pictures: int
    all_pictures: int
    network: str
    attention: str
    precision: str
    input_size: int

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know before comparing, a sentence each."""
        return tuple(_notes(self))

    @property
    def published(self) -> tuple[Figure, ...]:
        """The published figures; of surgery only those of the attention that was used."""
        return tuple(
            figure
            for figure in self.protocol.published
            if figure.method != SURGERY or self.attention == OWN_ATTENTION
        )


def markdown(report: ProtocolReport) -> str:
    """Return the table beside the published figures, the notes, and the table of classes."""
    notes = "\n".join(f"- {note}" for note in report.notes)
    return "\n\n".join(["\n".join(_rows(report)), notes, "\n".join(_class_rows(report))])


def write(report: ProtocolReport, folder: Path) -> list[Path]:
    """Write ``protocol.json`` and ``protocol.md``.

    :returns: the files written.
    """
    return write_tables(folder, "protocol", _json_values(report), markdown(report))


def _rows(report: ProtocolReport) -> Iterator[str]:
    """Yield the table of methods; published figures stand in the row of their method."""
    explains = report.protocol.explains
    kind = ["threshold", "mIoU of labels, %", "mSC, %", "mSC of labels, %"] if explains else []
    kind = kind or ["pixels right, %", "classes right, %"]
    yield from header([report.protocol.name, "mIoU, %", *kind, "published mIoU, %", "source"])
    others = {figure.method: figure for figure in report.published}
    for method, figures in report.figures.items():
        figure = others.pop(method, None)
        beside = [f"{figure.miou:.1f}", figure.source] if figure else ["", ""]
        name = f"{method} ({report.attention})" if method == SURGERY else method
        yield row([f"{name}, here", *_cells(figures), *beside])
    for figure in others.values():
        blank = [""] * (1 + len(kind))
        yield row([figure.method, *blank, f"{figure.miou:.1f}", figure.source])


def _cells(figures: Figures) -> list[str]:
    if isinstance(figures, SegmentationFigures):
        values = (figures.miou, figures.accuracy, figures.class_accuracy)
        return [_percent(value) for value in values]
    return [
        _percent(figures.miou),
        f"{figures.threshold:.2f}",
        _percent(figures.label_miou),
        _percent(figures.contrast),
        _percent(figures.label_contrast),
    ]


def _percent(value: float) -> str:
    """Return percent with one digit; nothing for NaN."""
    return "" if value != value else f"{100 * value:.1f}"


def _class_rows(report: ProtocolReport) -> Iterator[str]:
    methods = list(report.figures)
    yield from header(["class", *(f"IoU of {method}, %" for method in methods)])
    for index, names in enumerate(report.protocol.classes):
        ious = [report.figures[method].ious[index] for method in methods]
        yield row([names[0], *map(_percent, ious)])


def _notes(report: ProtocolReport) -> Iterator[str]:
    wanted = DATASETS[report.protocol.dataset]
    yield f"{report.network}, {report.precision}, {report.pictures} pictures."
    if report.pictures < report.all_pictures:
        yield (
            f"These are {report.pictures} of {report.all_pictures} pictures: not comparable with "
            "published figures, which are of all."
        )
    elif report.pictures not in wanted:
        yield (
            f"Published figures are of {wanted[-1]} pictures, these of {report.pictures}: not "
            "comparable."
        )
    if report.protocol.rules.short_side is None:
        size = report.input_size
        yield (
            f"Pictures were squashed to {size} x {size} pixels (clip_input_size). The size of the "
            "published figures is not known here; 224 and 512 are those of the authors' "
            "demonstration."
        )
    if report.protocol.explains:
        yield (
            "The paper's table of explainability is not quoted: it could not be read here. Nor is "
            "it known whether its means are of classes or of labels; both stand here."
        )
    if any(figure.method == SURGERY for figure in report.protocol.published) and (
        report.attention != OWN_ATTENTION
    ):
        yield f"The published figures of CLIP Surgery are of the attention {OWN_ATTENTION}."


def _json_values(report: ProtocolReport) -> dict[str, Any]:
    """Return the report as JSON has it; readers of the file rely on these keys."""
    protocol = report.protocol
    return {
        "data set": protocol.dataset,
        "paper": PAPERS[protocol.paper],
        "rules": asdict(protocol.rules),
        "classes": [list(names) for names in protocol.classes],
        "pictures": report.pictures,
        "pictures of the data set": report.all_pictures,
        "network": report.network,
        "attention": report.attention,
        "precision": report.precision,
        "input size": report.input_size,
        "figures": {method: _values(figures) for method, figures in report.figures.items()},
        "published": [asdict(figure) for figure in report.published],
        "notes": list(report.notes),
    }


def _values(figures: Figures) -> dict[str, Any]:
    """Return figures by the names that the tables give them, 0 to 1."""
    if isinstance(figures, MapFigures):
        return {
            "mIoU": figures.miou,
            "threshold": figures.threshold,
            "mIoU of labels": figures.label_miou,
            "mSC": figures.contrast,
            "mSC of labels": figures.label_contrast,
            "IoU": list(figures.ious),
        }
    return {
        "mIoU": figures.miou,
        "pixels right": figures.accuracy,
        "classes right": figures.class_accuracy,
        "IoU": list(figures.ious),
    }
