"""The manifest: what a backup holds, with which a restore is checked.

One JSON document beside the dump. It is written last, so a folder with a valid manifest is a complete backup. It holds
no secret and no host name; the cluster is known by its system identifier.

``schema_version`` grows only when an older pliers-db would misread the document. What is added otherwise has a default,
which stands for "unknown" in a manifest that was written before; what an older one does not know, it passes over.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, Union, get_args, get_origin, get_type_hints

SCHEMA_VERSION = 1
FILE = "manifest.json"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the backup; ``path`` is relative to the backup's folder."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TableContent:
    """What a table held in the snapshot that was dumped; a partitioned table stands for its partitions."""

    path: str
    """``public.orders``"""
    rows: int
    hash: str | None = None
    """Of all rows, as `pliers_db.catalog.digest` makes it; None if it was not asked for."""


@dataclass(frozen=True, slots=True)
class SequenceValue:
    """Where a sequence stood; a sequence knows no snapshots, so its dump may be further on."""

    path: str
    last_value: int | None
    """None: never called."""
    increment: int = 1
    cycle: bool = False


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension and the version that was installed; a dump does not record the version."""

    name: str
    version: str = UNKNOWN
    schema: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Contents:
    """What a database holds beside its definitions (those are in ``catalog.json``)."""

    tables: tuple[TableContent, ...]
    sequences: tuple[SequenceValue, ...] = ()
    large_objects: int | None = None
    """How many; None: unknown."""
    large_objects_hash: str | None = None

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(table.rows for table in self.tables)

    @property
    def hashed(self) -> bool:
        """Whether the rows themselves can be compared, not only their number."""
        return all(table.hash is not None for table in self.tables)


@dataclass(frozen=True, slots=True)
class Proof:
    """A restore into a scratch server, and what came of it."""

    at: datetime
    seconds: float
    """What the restore took: this is how long a real one takes."""
    server_version: str = UNKNOWN
    tool: str = UNKNOWN
    findings: tuple[str, ...] = ()
    """How the restored database differs; empty: the backup is proved."""

    @property
    def good(self) -> bool:
        """Whether nothing differed."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class Source:
    """Where the backup comes from."""

    database: str
    server_version: str
    server_version_num: int
    size_bytes: int
    encoding: str
    collate: str
    ctype: str
    environment: str | None = None
    system_identifier: str = ""
    in_recovery: bool = False
    largest_index_bytes: int = 0
    locale_provider: str = "libc"
    locale: str | None = None
    extensions: tuple[Extension, ...] = ()
    roles: tuple[str, ...] = ()
    """Every role that owns or may use something in this database."""
    migrations: tuple[str, ...] = ()
    """The migrations that were applied, oldest first."""

    @property
    def server_major(self) -> int:
        """18 for 18.6."""
        return self.server_version_num // 10000


@dataclass(frozen=True, slots=True)
class Client:
    """The program that made the dump. An older pg_restore cannot read its archive."""

    major: int
    format: str
    """``custom`` or ``directory``."""
    packed: bool
    """Compressed by us: pg_restore cannot read the file as it is."""
    program: str = "pg_dump"
    version: str = UNKNOWN
    compression: str = UNKNOWN
    """``zstd:1``, ``gzip:6``, ``none``…"""
    raw_size: int | None = None
    """Bytes of the archive before packing; None: it was not packed, or unknown."""
    tool: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is known about one backup."""

    id: str
    started_at: datetime
    finished_at: datetime
    source: Source
    client: Client
    dump: str
    """The name of the dump's file or folder."""
    contents: Contents
    files: tuple[StoredFile, ...]
    proof: Proof | None = None
    encrypted_to: tuple[str, ...] = ()
    """The public keys it is encrypted to; empty: it is not encrypted."""
    label: str = ""
    warnings: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def size_bytes(self) -> int:
        """Bytes that the backup takes on disk."""
        return sum(file.size for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the checksum over all the rest as ``self_sha256``."""
        body: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_plain))
        return {**body, "self_sha256": _checksum(body)}

    def to_json(self) -> str:
        """The text of ``manifest.json``."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"


class BadManifest(ValueError):
    """A manifest cannot be read; the text says why."""


class NewerManifest(BadManifest):
    """A manifest of a later layout than this program knows."""


def load_manifest(text: str) -> Manifest:
    """Read a manifest.

    :raises NewerManifest: a newer pliers-db wrote it in a layout that is not known here.
    :raises BadManifest: not JSON, or changed since it was written.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise BadManifest(f"not a JSON document ({error})") from None
    if not isinstance(body, dict):
        raise BadManifest("not a JSON object")
    version = body.get("schema_version")
    if not isinstance(version, int) or version < 1:
        raise BadManifest(f"its schema_version is {version!r}")
    if version > SCHEMA_VERSION:
        client = body.get("client")
        tool = client.get("tool") if isinstance(client, dict) else None
        known = f"manifest version {version}; this one reads up to {SCHEMA_VERSION}"
        raise NewerManifest(f"{tool or 'a newer pliers-db'} wrote it ({known})")
    claimed = body.pop("self_sha256", None)
    if claimed != _checksum(body):
        raise BadManifest("its checksum does not fit: it was changed or damaged")
    try:
        manifest = _build(Manifest, body)
    except (KeyError, TypeError, ValueError) as error:
        raise BadManifest(f"an entry is missing or wrong ({error})") from None
    assert isinstance(manifest, Manifest)
    return manifest


def _checksum(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no place in a manifest")


def _build(kind: Any, value: Any) -> Any:
    """Plain data back into what the type says."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _build(next(a for a in get_args(kind) if a is not type(None)), value)
    if origin is tuple:
        return tuple(_build(get_args(kind)[0], each) for each in value)
    if origin is not None:
        return dict(value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if is_dataclass(kind):
        make: Any = kind
        hints = get_type_hints(kind)
        known = {f.name for f in fields(kind)}
        return make(**{name: _build(hints[name], each) for name, each in value.items() if name in known})
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not {kind.__name__}")
    return value
