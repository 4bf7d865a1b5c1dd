"""Where frames are to each other, now and in the last seconds.

:class:`TransformBuffer` gives the answers of tf2's ``BufferCore`` (geometry2, branch jazzy) for
machines without tf2. Stamps are nanoseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from threading import RLock

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clip_surgery_ros.core.errors import SpaceError
from clip_surgery_ros.space.reasons import Finding, Reason

Floats = NDArray[np.float64]

KEEP_NS = 10_000_000_000
"""How long transforms are kept, as tf2 does by default."""
UNIT_TOLERANCE = 1e-2
"""Largest difference of a quaternion's squared length from 1, as tf2 allows."""
FARTHEST = 1e9
"""Metres; no frame is farther from another, and squares of such numbers are finite."""
SHOWN_FRAMES = 12
"""Frames that an error names at most."""
LATEST = 0
"""Stamp that asks for the newest moment at which all transforms of a chain are known."""


class TransformUnavailable(SpaceError):
    """A transform cannot be had; ``finding`` says why, as one of the reasons ``TF_...``."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.finding = Finding(reason, text)


@dataclass(frozen=True)
class Rigid:
    """A rotation followed by a translation.

    :param translation: (3,) metres.
    :param quaternion: (4,) x, y, z, w of length 1.

    >>> half_turn = Rigid(np.array([1.0, 0, 0]), np.array([0.0, 0, 1, 0]))
    >>> half_turn.apply(np.array([[1.0, 0, 0]])).round(9).tolist()
    [[0.0, 0.0, 0.0]]
    """

    translation: Floats
    quaternion: Floats

    @classmethod
    def identity(cls) -> Rigid:
        """Return the transform that changes nothing."""
        return cls(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]))

    @classmethod
    def from_message(cls, translation: ArrayLike, quaternion: ArrayLike) -> Rigid:
        """Return the transform of a message's numbers; the quaternion is made of length 1.

        :raises SpaceError: a number is not finite or too large, or the quaternion's length is far
            from 1.
        """
        t, q = np.asarray(translation, np.float64), np.asarray(quaternion, np.float64)
        if not (np.abs(t).max() <= FARTHEST and np.abs(q).max() <= FARTHEST):  # nor with NaN
            raise SpaceError(
                f"translation {t} and quaternion {q} must be finite, and at most {FARTHEST:g}"
            )
        if abs(float(q @ q) - 1) > UNIT_TOLERANCE:
            raise SpaceError(f"quaternion {q} has the length {np.linalg.norm(q):.3f} instead of 1")
        return cls(t, q / np.linalg.norm(q))

    @classmethod
    def from_matrix(cls, matrix: Floats) -> Rigid:
        """Return the transform of a (4, 4) matrix (Shepperd 1978: the largest part first)."""
        m = matrix[:3, :3]
        squares = np.array([m[0, 0], m[1, 1], m[2, 2], np.trace(m)])
        i = int(squares.argmax())
        q = np.empty(4)
        if i == 3:
            q[:3] = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
            q[3] = 1 + squares[3]
        else:
            j, k = (i + 1) % 3, (i + 2) % 3
            q[i] = 1 + m[i, i] - m[j, j] - m[k, k]
            q[j], q[k] = m[j, i] + m[i, j], m[k, i] + m[i, k]
            q[3] = m[k, j] - m[j, k]
        return cls(matrix[:3, 3].astype(np.float64), q / np.linalg.norm(q))

    @property
    def rotation(self) -> Floats:
        """The rotation, (3, 3)."""
        x, y, z, w = self.quaternion
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )

    @property
    def matrix(self) -> Floats:
        """The transform, (4, 4)."""
        result = np.eye(4)
        result[:3, :3], result[:3, 3] = self.rotation, self.translation
        return result

    def apply(self, points: NDArray[np.floating]) -> Floats:
        """Return points, (P, 3), in the other frame."""
        return np.asarray(points @ self.rotation.T + self.translation)

    def inverse(self) -> Rigid:
        """Return the transform back."""
        back = self.quaternion * np.array([-1.0, -1, -1, 1])
        return Rigid(-self.rotation.T @ self.translation, back)

    def __matmul__(self, first: Rigid) -> Rigid:
        """Return the transform that applies ``first`` and then this one."""
        (x, y, z, w), (a, b, c, d) = self.quaternion, first.quaternion
        product = np.array(
            [
                w * a + x * d + y * c - z * b,
                w * b - x * c + y * d + z * a,
                w * c + x * b - y * a + z * d,
                w * d - x * a - y * b - z * c,
            ]
        )
        moved = self.rotation @ first.translation + self.translation
        return Rigid(moved, product / np.linalg.norm(product))

    def between(self, other: Rigid, share: float) -> Rigid:
        """Return the transform at a share, 0 to 1, of the way to another one.

        Translations are mixed linearly, rotations spherically (Shoemake 1985), the shorter way.
        """
        translation = self.translation + share * (other.translation - self.translation)
        return Rigid(translation, _slerp(self.quaternion, other.quaternion, share))


def _slerp(a: Floats, b: Floats, share: float) -> Floats:
    """Return the quaternion at a share of the shorter way from ``a`` to ``b``."""
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    if cosine > 1 - 1e-9:  # so near that the sine of the angle would be 0
        mixed = a + share * (b - a)
    else:
        angle = np.arccos(cosine)
        mixed = np.sin((1 - share) * angle) * a + np.sin(share * angle) * b
    return np.asarray(mixed / np.linalg.norm(mixed))


def shown(frame: str) -> str:
    """Return the name of a frame for people: quoted, without control characters, not long.

    >>> shown("map"), shown("x" * 100)[-6:]
    ("'map'", "xxx'...")
    """
    return repr(frame) if len(frame) <= 60 else f"{frame[:60]!r}..."


def _list_of(frames: set[str]) -> str:
    """Return the names of some frames."""
    names = [shown(name) for name in sorted(frames)[:SHOWN_FRAMES]]
    more = len(frames) - len(names)
    return (", ".join(names) + f" and {more} more" * (more > 0)) or "none"


@dataclass(frozen=True)
class _Link:
    """A frame in its parent."""

    parent: str
    transform: Rigid


class _History:
    """The links of one frame over time; a static frame has one for all times."""

    def __init__(self, static: bool) -> None:
        self.static = static
        self.stamps: list[int] = []
        self.links: list[_Link] = []

    def add(self, stamp_ns: int, link: _Link, keep_ns: int) -> None:
        if self.static:
            self.stamps, self.links = [stamp_ns], [link]
            return
        if self.stamps and stamp_ns < self.stamps[-1] - keep_ns:
            return
        index = bisect_left(self.stamps, stamp_ns)
        if index < len(self.stamps) and self.stamps[index] == stamp_ns:
            self.links[index] = link
            return
        self.stamps.insert(index, stamp_ns)
        self.links.insert(index, link)
        aged = bisect_left(self.stamps, self.stamps[-1] - keep_ns)
        del self.stamps[:aged], self.links[:aged]

    def at(self, stamp_ns: int, frame: str) -> _Link:
        """Return the link at a stamp.

        :raises TransformUnavailable: the stamp is before the first or after the last one.
        """
        if self.static:
            return self.links[0]
        first, last = self.stamps[0], self.stamps[-1]
        if stamp_ns < first:
            raise TransformUnavailable(
                Reason.TF_PAST,
                f"transforms of {shown(frame)} begin {(first - stamp_ns) / 1e9:.3f} s after "
                f"the stamp {stamp_ns / 1e9:.3f} s; it was too old when it was asked for",
            )
        if stamp_ns > last:
            raise TransformUnavailable(
                Reason.TF_FUTURE,
                f"transforms of {shown(frame)} end {(stamp_ns - last) / 1e9:.3f} s before "
                f"the stamp {stamp_ns / 1e9:.3f} s; newer ones have not arrived",
            )
        index = bisect_left(self.stamps, stamp_ns)
        after = self.links[index]
        if self.stamps[index] == stamp_ns:
            return after
        before, start = self.links[index - 1], self.stamps[index - 1]
        if before.parent != after.parent:
            return before
        share = (stamp_ns - start) / (self.stamps[index] - start)
        return _Link(before.parent, before.transform.between(after.transform, share))


class TransformBuffer:
    """A forest of frames over time; threads may add and look up at once.

    As in tf2: a transform between two stamps is interpolated, and none is extrapolated. A static
    one holds at any time. A transform that is older than the newest of its frame by more than
    ``keep_ns`` is not kept. One of the same stamp replaces the former. When a frame changes
    between static and moving, its history begins anew. Slashes at the start of names are ignored.

    :param keep_ns: how long transforms are kept, nanoseconds.

    >>> buffer = TransformBuffer()
    >>> buffer.add_static("map", "camera", Rigid.from_message([0, 0, 1.5], [0, 0, 0, 1]))
    >>> buffer.lookup("map", "camera", 7).translation.tolist()
    [0.0, 0.0, 1.5]
    """

    def __init__(self, keep_ns: int = KEEP_NS) -> None:
        self._keep_ns = keep_ns
        self._histories: dict[str, _History] = {}
        self._lock = RLock()

    def add(self, parent: str, child: str, stamp_ns: int, transform: Rigid) -> None:
        """Keep where ``child`` is in ``parent`` at a stamp.

        :raises SpaceError: a name is empty, or both are the same.
        """
        self._add(parent, child, stamp_ns, transform, static=False)

    def add_static(self, parent: str, child: str, transform: Rigid) -> None:
        """Keep where ``child`` is in ``parent`` at all times.

        :raises SpaceError: a name is empty, or both are the same.
        """
        self._add(parent, child, 0, transform, static=True)

    def clear(self) -> None:
        """Forget moving transforms, when time jumped; static ones stay, as in tf2."""
        with self._lock:
            self._histories = {k: v for k, v in self._histories.items() if v.static}

    def frames(self) -> set[str]:
        """Return the names of all frames."""
        with self._lock:
            parents = {link.parent for each in self._histories.values() for link in each.links}
            return parents | self._histories.keys()

    def lookup(self, target: str, source: str, stamp_ns: int) -> Rigid:
        """Return the transform that takes points of ``source`` to ``target``.

        :param stamp_ns: nanoseconds, or :data:`LATEST`.
        :raises TransformUnavailable: a frame is unknown, the frames are not connected, or a
            transform between them is not known at the stamp.
        """
        target, source = target.lstrip("/"), source.lstrip("/")
        with self._lock:
            for frame in (target, source):
                if not self._is_known(frame):
                    raise TransformUnavailable(
                        Reason.TF_UNKNOWN_FRAME,
                        f"no transform names the frame {shown(frame)}; there are: "
                        f"{_list_of(self.frames())}",
                    )
            if stamp_ns == LATEST:
                stamp_ns = self._latest_common(target, source)
            return self._connect(target, source, stamp_ns)

    def _is_known(self, frame: str) -> bool:
        """Return whether a transform names a frame."""
        histories = self._histories
        return frame in histories or any(
            link.parent == frame for each in histories.values() for link in each.links
        )

    def _add(
        self, parent: str, child: str, stamp_ns: int, transform: Rigid, *, static: bool
    ) -> None:
        parent, child = parent.lstrip("/"), child.lstrip("/")
        if not parent or not child or parent == child:
            names = f"{shown(child)} in {shown(parent)}"
            raise SpaceError(f"transform of {names}: two different names needed")
        with self._lock:
            history = self._histories.get(child)
            if history is None or history.static != static:
                history = self._histories[child] = _History(static)
            history.add(stamp_ns, _Link(parent, transform), self._keep_ns)

    def _connect(self, target: str, source: str, stamp_ns: int) -> Rigid:
        """Return the transform across the nearest frame that is above both frames."""
        up, up_end = self._chain(source, stamp_ns)
        down, down_end = self._chain(target, stamp_ns)
        for frame, transform in down.items():
            if frame in up:
                return transform.inverse() @ up[frame]
        end = up_end or down_end
        if end is not None:
            raise end
        raise TransformUnavailable(
            Reason.TF_NOT_CONNECTED,
            f"{shown(source)} and {shown(target)} are not connected: they are below "
            f"{shown([*up][-1])} and {shown([*down][-1])}",
        )

    def _chain(
        self, frame: str, stamp_ns: int
    ) -> tuple[dict[str, Rigid], TransformUnavailable | None]:
        """Return transforms of a frame to itself and to all above it, and why they end, if they
        do before a root.
        """
        chain = {frame: Rigid.identity()}
        at = frame
        while at in self._histories:
            try:
                link = self._histories[at].at(stamp_ns, at)
            except TransformUnavailable as error:
                return chain, error
            if link.parent in chain:
                text = f"the frames above {shown(frame)} form a loop at {shown(link.parent)}"
                return chain, TransformUnavailable(Reason.TF_NOT_CONNECTED, text)
            chain[link.parent] = link.transform @ chain[at]
            at = link.parent
        return chain, None

    def _latest_common(self, target: str, source: str) -> int:
        """Return the newest stamp at which all links between two frames are known."""
        chains = [self._newest_links(target), self._newest_links(source)]
        above = [
            {parent for _, parent, _ in chain} | {f}
            for chain, f in zip(chains, (target, source), strict=True)
        ]
        shared = above[0] & above[1]
        stamps = [
            stamp
            for chain in chains
            for frame, _, stamp in chain
            if frame not in shared and stamp is not None
        ]
        return min(stamps, default=LATEST)

    def _newest_links(self, frame: str) -> list[tuple[str, str, int | None]]:
        """Return frame, parent and stamp of the newest links above a frame; stamp None if
        static.
        """
        links: list[tuple[str, str, int | None]] = []
        seen = {frame}
        while frame in self._histories:
            history = self._histories[frame]
            parent = history.links[-1].parent
            links.append((frame, parent, None if history.static else history.stamps[-1]))
            if parent in seen:
                break
            seen.add(parent)
            frame = parent
        return links
