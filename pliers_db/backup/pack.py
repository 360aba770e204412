"""Packing a stream into a file on its way to the disk: compressed, encrypted if asked for, and hashed.

pg_dump's own zstd writes no checksum of the content, and not every build has it. Ours does, on several cores, and what
is not packed never touches the disk. ``zstd -dc FILE`` unpacks it without us, ``age -d`` before it if it is encrypted.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pliers_db.backup import age
from pliers_db.backup.manifest import StoredFile
from pliers_db.errors import BackupCorrupt

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SUFFIX = ".zst"
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_CHUNK = 1 << 20


class Packer:
    """Takes bytes; make it with `packing`."""

    def __init__(self, to: age.Writes, sink: _Sink, level: int, workers: int) -> None:
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: level,
            zstd.CompressionParameter.checksum_flag: 1,
            zstd.CompressionParameter.nb_workers: workers,
        }
        self._to, self._sink = to, sink
        self._zstd = zstd.ZstdCompressor(options=options)
        self.raw_size = 0
        """Bytes taken so far."""

    @property
    def size(self) -> int:
        """Bytes on the disk so far."""
        return self._sink.size

    @property
    def stored(self) -> StoredFile:
        """The file as a manifest lists it, its path being its name; complete after the block."""
        return StoredFile(self._sink.file.name, self._sink.size, self._sink.sha256.hexdigest())

    def write(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        self.raw_size += len(data)
        self._to.write(self._zstd.compress(data))

    def finish(self) -> None:
        """Write what is still held back."""
        self._to.write(self._zstd.flush())


class _Sink:
    """Writes and hashes."""

    def __init__(self, file: Path, stream: BinaryIO) -> None:
        self.file, self._stream = file, stream
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._stream.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)


@contextmanager
def packing(file: Path, *, level: int = 1, workers: int = 2, recipients: Sequence[Any] = ()) -> Iterator[Packer]:
    """Write a new file; it is complete at the end of the block.

    :param level: zstd's, 1 to 19.
    :param workers: threads that compress.
    :param recipients: encrypt to these (`age.parse_recipients`).
    """
    with file.open("xb") as stream:
        sink = _Sink(file, stream)
        with ExitStack() as stack:
            to = stack.enter_context(age.encrypting(sink, recipients)) if recipients else sink
            packer = Packer(to, sink, level, workers)
            yield packer
            packer.finish()


def pack(data: bytes, file: Path, *, recipients: Sequence[Any] = ()) -> StoredFile:
    """Write a small file, encrypted if there are recipients; not compressed."""
    with file.open("xb") as stream:
        sink = _Sink(file, stream)
        if recipients:
            with age.encrypting(sink, recipients) as plain:
                plain.write(data)
        else:
            sink.write(data)
    return StoredFile(file.name, sink.size, sink.sha256.hexdigest())


@contextmanager
def opened(file: Path, identities: Sequence[Any] = ()) -> Iterator[BinaryIO]:
    """Read a file without its layers: decrypted, and decompressed if it is zstd or gzip.

    :param identities: keys to decrypt with (`age.read_identities`).
    :raises NoIdentity: it is encrypted, and no key opens it.
    :raises BackupCorrupt: a layer is damaged; while reading.
    """
    with ExitStack() as stack:
        stream: BinaryIO = stack.enter_context(file.open("rb"))
        if _peek(stream).startswith(age.MAGIC):
            stream = stack.enter_context(age.decrypting(stream, identities, file.name))
        buffered = stream if hasattr(stream, "peek") else _buffered(stream)
        head = _peek(buffered)
        if head.startswith(_ZSTD):
            yield zstd.ZstdFile(buffered)  # type: ignore[misc]
        elif head.startswith(_GZIP):
            yield gzip.GzipFile(fileobj=buffered)  # type: ignore[misc]
        else:
            yield buffered


def pieces(file: Path, identities: Sequence[Any] = ()) -> Iterator[bytes]:
    """The content of a file without its layers, piece by piece. Parameters and errors as of `opened`."""
    with opened(file, identities) as stream:
        try:
            while piece := stream.read(_CHUNK):
                yield piece
        except (zstd.ZstdError, gzip.BadGzipFile, EOFError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                raise
            raise BackupCorrupt(f"{file.name} is damaged", why=str(error), fix="pliers-db backup list") from None


def unpack(
    file: Path, to: Path, identities: Sequence[Any] = (), tick: Callable[[int], None] = lambda count: None
) -> None:
    """Write the content of a file without its layers into another. Errors as of `opened`."""
    with to.open("xb") as stream:
        for piece in pieces(file, identities):
            stream.write(piece)
            tick(len(piece))


def _buffered(stream: BinaryIO) -> BinaryIO:
    return io.BufferedReader(stream, _CHUNK)  # type: ignore[type-var]


def _peek(stream: Any) -> bytes:
    """The first bytes, which stay in the stream."""
    head: bytes = stream.peek(32)[:32]
    return head
