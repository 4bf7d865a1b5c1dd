"""Figures of ids that last, as a Markdown table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clip_surgery_ros.evaluation.sequences import METHODS, SequenceOutcome
from clip_surgery_ros.evaluation.tables import header, row, write_tables


@dataclass(frozen=True)
class SequenceSummary:
    """Means over the sequences of a kind at a rate with one method.

    :param sequences: how many.
    :param allowed: the highest IDF1 that the detections allow.
    :param switches: a sequence; ``ghosts`` likewise.
    :param confirm_s: mean of the medians, seconds.
    :param undetected: as in :class:`SequenceOutcome`, 0 to 1; ``missing`` likewise.
    """

    kind: str
    rate: float
    method: str
    sequences: int
    idf1: float
    allowed: float
    switches: float
    hota: float
    association: float
    confirm_s: float
    ghosts: float
    undetected: float
    missing: float


def summaries(outcomes: Sequence[SequenceOutcome]) -> list[SequenceSummary]:
    """Return the means of each kind, rate and method, in the order of the outcomes."""
    keys = dict.fromkeys((each.kind, each.rate, each.method) for each in outcomes)
    return [_summary([o for o in outcomes if (o.kind, o.rate, o.method) == key]) for key in keys]


def _summary(group: Sequence[SequenceOutcome]) -> SequenceSummary:
    figures = [each.figures for each in group]
    means = (
        np.mean([f.idf1 for f in figures]),
        np.mean([each.allowed for each in group]),
        np.mean([f.switches for f in figures]),
        np.mean([f.hota for f in figures]),
        np.mean([f.association for f in figures]),
        np.mean([each.confirm_s for each in group]),
        np.mean([each.ghosts for each in group]),
        np.mean([each.undetected for each in group]),
        np.mean([each.missing for each in group]),
    )
    first = group[0]
    return SequenceSummary(
        first.kind, first.rate, first.method, len(group), *(float(each) for each in means)
    )


def markdown(found: Sequence[SequenceSummary]) -> str:
    """Return the table in Markdown: for each kind and rate IDF1, switches and HOTA; and how often
    objects are missing without tracks, with depth and without.
    """
    return "\n".join(_rows(found))


def _rows(found: Sequence[SequenceSummary]) -> Iterator[str]:
    own_heads = "with an id after, s", "ghosts", "missing, %"
    heads = ["sequence", "Hz", "n", "allowed", *METHODS, *own_heads]
    yield from header(heads)
    table = {(each.kind, each.rate, each.method): each for each in found}
    for kind, rate in dict.fromkeys((each.kind, each.rate) for each in found):
        own, flat = (table[kind, rate, method] for method in list(METHODS)[:2])
        cells = [_cell(table[kind, rate, method]) for method in METHODS]
        missing = " / ".join(
            f"{100 * share:.1f}" for share in (own.undetected, own.missing, flat.missing)
        )
        rest = f"{own.confirm_s:.1f}", f"{own.ghosts:.1f}", missing
        first = [kind, f"{rate:g}", str(own.sequences), f"{own.allowed:.2f}"]
        yield row([*first, *cells, *rest])


def _cell(one: SequenceSummary) -> str:
    return f"{one.idf1:.2f} / {one.switches:.1f} / {one.hota:.2f}"


def write(found: Sequence[SequenceSummary], folder: Path) -> list[Path]:
    """Write ``sequences.json`` and ``sequences.md``.

    :returns: the files written.
    """
    values = [asdict(each) for each in found]
    return write_tables(folder, "sequences", values, markdown(found))
