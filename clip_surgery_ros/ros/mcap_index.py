"""Reads MCAP files by their indexes, also files that were cut off or were written without any."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Generator, Iterable
from io import BytesIO

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader, decompress

MAGIC = b"\x89MCAP0\r\n"
"""First and last bytes of an MCAP file."""
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX = range(1, 8)
"""Kinds of records (https://mcap.dev/spec). A record is its kind, its length and its content."""
_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK = struct.Struct("<QQQII")  # first and last time, size, checksum, length of the next text
_INDEX = struct.Struct("<HI")  # channel, bytes of entries (time, offset)


class IndexedMcapReader(McapReader):
    """rosbags' reader, which also tells when messages were logged without reading them.

    rosbags refuses a file without an end, which a recorder leaves that is killed. This reader
    takes such a file as far as its records are whole: the indexes after each chunk are read, and
    chunks without one are decompressed. A chunk that is damaged is left out.
    """

    def __init__(self, path) -> None:  # any path that rosbags takes
        super().__init__(path)
        self._unchunked: list[tuple[int, int, int, int]] = []
        """Log time, channel, offset and size of messages outside of chunks."""
        self._times_inside: dict[int, dict[int, list[int]]] = {}
        """Log times by channel of chunks that have no index, by the chunk's offset."""

    def _open(self) -> None:
        assert self.bio
        size = self.bio.seek(0, 2)
        self.bio.seek(max(0, size - len(MAGIC)))
        has_end = self.bio.read() == MAGIC
        self.bio.seek(0)
        if has_end:
            super()._open()
            if self.chunks or not self.metadata.message_count:
                return
        else:
            self._read_head()
            self.data_end = size
        self._scan(has_end)

    def _read_head(self) -> None:
        """Check the start of a file, and set where its records begin."""
        assert self.bio
        head = self.bio.read(len(MAGIC) + _RECORD.size)
        if not head.startswith(MAGIC) or len(head) != len(MAGIC) + _RECORD.size:
            raise ReaderError("File magic is invalid.")
        kind, length = _RECORD.unpack(head[len(MAGIC) :])
        if kind != HEADER:
            raise ReaderError("Unexpected record.")
        self.data_start = len(head) + length

    def _scan(self, has_end: bool) -> None:
        """Find chunks, their indexes and messages outside of chunks, from record to record."""
        assert self.bio
        definitions, position = bytearray(), self.data_start
        while position + _RECORD.size <= self.data_end:
            self.bio.seek(position)
            kind, length = _RECORD.unpack(self.bio.read(_RECORD.size))
            end = position + _RECORD.size + length
            if end > self.data_end:  # the recorder was killed here
                break
            if kind in (SCHEMA, CHANNEL):
                definitions += _RECORD.pack(kind, length) + self.bio.read(length)
            elif kind == MESSAGE:
                channel, _, time, _ = _MESSAGE.unpack(self.bio.read(_MESSAGE.size))
                start = self.bio.tell()
                self._unchunked.append((time, channel, start, end - start))
            elif kind == CHUNK:
                self.chunks.append(self._chunk_at(position, end))
            elif kind == MESSAGE_INDEX and self.chunks:
                channel, size = _INDEX.unpack(self.bio.read(_INDEX.size))
                self.chunks[-1].message_index_offsets[channel] = position
                self.chunks[-1].channel_count[channel] = size // 16
            position = end
        self._learn(bytes(definitions))
        if self.chunks and not has_end:  # its last indexes may be missing
            self.chunks[-1].channel_count.clear()
        self.chunks[:] = [chunk for chunk in self.chunks if self._look_inside(chunk)]
        self._count()

    def _chunk_at(self, position: int, end: int) -> ChunkInfo:
        assert self.bio
        first, last, size, _, text_length = _CHUNK.unpack(self.bio.read(_CHUNK.size))
        compression = self.bio.read(text_length).decode()
        (compressed,) = struct.unpack("<Q", self.bio.read(8))
        return ChunkInfo(
            first, last, position, end - position, {}, 0, compression, compressed, size, {}
        )

    def _look_inside(self, chunk: ChunkInfo) -> bool:
        """Read a chunk that has no index, or channels that were not defined so far.

        :returns: whether the chunk is whole.
        """
        known = {connection.id for connection in self.connections}
        if chunk.channel_count and chunk.channel_count.keys() <= known:
            return True
        try:
            content = self._content(chunk)
        except Exception:  # damaged: the packages of compressions raise anything
            return False
        definitions, times = bytearray(), dict[int, list[int]]()
        for kind, record in _records(content):
            if kind in (SCHEMA, CHANNEL):
                definitions += _RECORD.pack(kind, len(record)) + record
            elif kind == MESSAGE:
                channel, _, time, _ = _MESSAGE.unpack_from(record)
                times.setdefault(channel, []).append(time)
        self._learn(bytes(definitions))
        self._times_inside[chunk.chunk_start_offset] = times
        chunk.channel_count.update({channel: len(each) for channel, each in times.items()})
        return True

    def _content(self, chunk: ChunkInfo) -> bytes:
        assert self.bio
        self.bio.seek(chunk.chunk_start_offset + _RECORD.size + 24)
        (crc,) = struct.unpack("<I", self.bio.read(4))
        self.bio.seek(chunk.chunk_start_offset + _RECORD.size + 40 + len(chunk.compression))
        stored = self.bio.read(chunk.compressed_size)
        return decompress(stored, chunk.compression, chunk.uncompressed_size, crc)

    def _learn(self, definitions: bytes) -> None:
        """Take in records of schemas and channels, as of a file's summary."""
        file, end = self.bio, self.data_end
        self.bio, self.data_end = BytesIO(definitions + bytes([FOOTER])), 0
        try:
            self.read_index()
        finally:
            self.bio, self.data_end = file, end

    def _count(self) -> None:
        """Set the numbers of messages, which a summary would have."""
        counts = Counter(channel for _, channel, _, _ in self._unchunked)
        for chunk in self.chunks:
            counts.update(chunk.channel_count)
        self.connections[:] = [c._replace(msgcount=counts[c.id]) for c in self.connections]
        self.metadata = self.metadata._replace(message_count=counts.total())

    def times(self, channels: Collection[int]) -> list[int]:
        """Return the log times of all messages of channels, in ns, sorted. No message is read."""
        assert self.bio
        found = [time for time, channel, _, _ in self._unchunked if channel in channels]
        for chunk in self.chunks:
            inside = self._times_inside.get(chunk.chunk_start_offset)
            for channel in channels:
                if inside is not None:
                    found += inside.get(channel, [])
                elif offset := chunk.message_index_offsets.get(channel):
                    self.bio.seek(offset + _RECORD.size)
                    _, size = _INDEX.unpack(self.bio.read(_INDEX.size))
                    found += np.frombuffer(self.bio.read(size), "<u8")[::2].tolist()
        return sorted(found)

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield (connection, log time, data), sorted by log time, from ``start`` to ``stop``."""
        assert self.bio
        if self.chunks:
            yield from super().messages(connections, start, stop)
            return
        by_channel = {connection.id: connection for connection in connections}
        for time, channel, offset, size in sorted(self._unchunked):
            is_inside = (start is None or time >= start) and (stop is None or time < stop)
            if is_inside and channel in by_channel:
                self.bio.seek(offset)
                yield by_channel[channel], time, self.bio.read(size)


def _records(content: bytes) -> Iterable[tuple[int, bytes]]:
    """Yield kind and content of the records in a chunk."""
    position = 0
    while position + _RECORD.size <= len(content):
        kind, length = _RECORD.unpack_from(content, position)
        position += _RECORD.size
        yield kind, content[position : position + length]
        position += length
