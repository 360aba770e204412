"""An object store: S3, Google Cloud Storage, Azure, or a folder (``file:///…``), through obstore."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pliers_db.config import Secret
from pliers_db.errors import BadSetting, RemoteFailed

_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "file")
_PIECE = 1 << 20
_PART, _PARTS = 8 << 20, 9_000  # bytes of a part of an upload at least; S3 takes 10,000 parts
_RETRY = timedelta(seconds=60)
_REQUEST = timedelta(minutes=5)

# What is read from .env files, too: an object store's own library would look into the process environment alone.
_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
_SECRETS = ("SECRET", "TOKEN", "KEY")
# Not for us: they steer Amazon's own programs.
_FOREIGN = ("AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PAGER", "AWS_DEFAULT_OUTPUT")


def is_remote(name: str) -> bool:
    """Whether a text is the URL of an object store."""
    return urlsplit(name).scheme in _SCHEMES and "://" in name


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the store."""

    path: str
    size: int
    changed_at: datetime


class Store:
    """A place in an object store. Its errors are ours, and tell no secret."""

    def __init__(self, url: str, variables: Mapping[str, str] | None = None) -> None:
        """:param url: ``s3://bucket/folder`` and the like.

        :param variables: ``AWS_ACCESS_KEY_ID`` and the like; others are passed over.
        :raises BadSetting: the URL is none, or the library is not installed.
        """
        self.url = url.rstrip("/")
        if not is_remote(url):
            raise BadSetting(
                f"{url} is no URL of an object store",
                why="It begins with s3://, gs://, az:// or file://.",
                fix="For example s3://my-bucket/backups.",
            )
        self._store = _open(self.url, _config(variables or {}))

    def objects(self, prefix: str = "") -> list[Stored]:
        """Everything that is stored under a prefix.

        :raises RemoteFailed: the store does not answer, or refuses.
        """
        import obstore

        with self._telling("list"):
            return [
                Stored(each["path"], each["size"], each["last_modified"])
                for batch in obstore.list(self._store, prefix or None)
                for each in batch
            ]

    def pieces(self, path: str) -> Iterator[bytes]:
        """An object's content.

        :raises RemoteFailed: it is not there, or the store does not answer.
        """
        import obstore

        with self._telling(f"get {path}"):
            for piece in obstore.get(self._store, path).stream(_PIECE):
                yield bytes(piece)

    def read(self, path: str) -> bytes:
        """A small object."""
        return b"".join(self.pieces(path))

    def write(self, path: str, content: bytes) -> None:
        """Store a small object: all of it, or the old one stays."""
        import obstore

        with self._telling(f"put {path}"):
            obstore.put(self._store, path, content, use_multipart=False)

    def upload(self, path: str, pieces: Iterator[bytes], size: int, tick: Callable[[int], None]) -> None:
        """Store a large object; if ``pieces`` or we die in the middle, the store shows nothing of it."""
        import obstore

        with self._telling(f"put {path}"):
            part = max(_PART, size // _PARTS)
            # Left by an error, it has the store forget the parts that have arrived.
            with obstore.open_writer(self._store, path, buffer_size=part, max_concurrency=4) as writer:
                for piece in pieces:
                    writer.write(piece)
                    tick(len(piece))

    def delete(self, paths: list[str]) -> None:
        """Remove objects; one that is gone already is no error."""
        import obstore

        with self._telling("delete"):
            for path in paths:
                obstore.delete(self._store, path)

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError) as error:
            raise RemoteFailed(
                f"The object store {self.url} does not do it: {what}",
                why=_reason(error),
                fix="Check the URL, and the credentials (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL… of its kind).",
            ) from None


def _open(url: str, config: dict[str, str]) -> Any:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ModuleNotFoundError:
        raise BadSetting(
            "The library for object stores is not installed",
            why=f"{url} needs obstore.",
            fix="pip install 'pliers-db[remote]'",
        ) from None
    if url.startswith("file:"):
        return from_url(url, mkdir=True)
    kind = urlsplit(url).scheme[:2]
    prefix = {"s3": "AWS_", "gs": "GOOGLE_"}.get(kind, "AZURE_")
    given: Any = {name.lower(): value for name, value in config.items() if name.startswith(prefix)}
    if kind == "s3":
        given["aws_checksum_algorithm"] = "SHA256"  # the store checks each part on its arrival
    plain = any(value.startswith("http://") for name, value in given.items() if "endpoint" in name)
    options: Any = {"timeout": _REQUEST, "allow_http": plain}
    retries: Any = {"max_retries": 5, "retry_timeout": _RETRY}
    try:
        return from_url(url, config=given, client_options=options, retry_config=retries)
    except BaseError as error:
        raise BadSetting(f"{url} cannot be used", why=_reason(error), fix="Correct the URL.") from None


def _config(variables: Mapping[str, str]) -> dict[str, str]:
    found = {n: v for n, v in variables.items() if n.startswith(_PREFIXES) and n not in _FOREIGN and v}
    for name, value in found.items():
        if any(word in name for word in _SECRETS):
            Secret(value)  # known from now on, and scrubbed from messages
    return found


def _reason(error: Exception) -> str:
    """The first lines of the library's words; the rest is its own innards."""
    text = str(error).split("\n\nDebug source:")[0]
    return " ".join(text.split())[:500]
