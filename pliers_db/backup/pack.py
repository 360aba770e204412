"""Packing a stream into a file on its way to the disk: compressed, with a checksum of what is stored.

pg_dump's own zstd writes no checksum of the content, and not every build has it. Ours does, on several cores, and what
is not compressed never touches the disk. ``zstd -dc FILE`` unpacks it without us.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

from pliers_db.backup.manifest import StoredFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIX = ".zst"
_CHUNK = 1 << 20


class Packer:
    """Writes a packed file; make it with `packing`."""

    def __init__(self, file: Path, stream: BinaryIO, level: int, workers: int) -> None:
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: level,
            zstd.CompressionParameter.checksum_flag: 1,
            zstd.CompressionParameter.nb_workers: workers,
        }
        self._file, self._stream = file, stream
        self._zstd = zstd.ZstdCompressor(options=options)
        self._sha256 = hashlib.sha256()
        self.size = 0
        """Bytes written so far."""
        self.raw_size = 0
        """Bytes taken so far."""

    def write(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.raw_size += len(data)
        self._put(self._zstd.compress(data))

    def finish(self) -> StoredFile:
        """Write what is left. :returns: the file as a manifest lists it, its path being its name."""
        self._put(self._zstd.flush())
        self._stream.flush()
        return StoredFile(self._file.name, self.size, self._sha256.hexdigest())

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._sha256.update(data)
        self.size += len(data)


@contextmanager
def packing(file: Path, *, level: int = 1, workers: int = 2) -> Iterator[Packer]:
    """Write a new file; call `Packer.finish` at the end.

    :param level: zstd's, 1 to 19.
    :param workers: threads that compress.
    """
    with file.open("xb") as stream:
        yield Packer(file, stream, level, workers)


class Unpacked:
    """Reads a packed file piece by piece, as an iterator of bytes.

    :raises EOFError: the file ends too early.
    :raises ValueError: it is damaged.
    """

    def __init__(self, file: Path) -> None:
        self._stream = zstd.ZstdFile(file)

    def __iter__(self) -> Iterator[bytes]:
        try:
            while piece := self._stream.read(_CHUNK):
                yield piece
        except zstd.ZstdError as error:
            raise ValueError(str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()


def unpack(file: Path, to: Path, tick: Callable[[int], None] = lambda count: None) -> None:
    """Write a packed file's content into another file. Errors as of `Unpacked`."""
    with Unpacked(file) as pieces, to.open("xb") as stream:
        for piece in pieces:
            stream.write(piece)
            tick(len(piece))
