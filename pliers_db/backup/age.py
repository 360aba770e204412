"""Encryption in the age format (https://age-encryption.org/v1), to public keys: making a backup needs no secret.

``age -d -i KEY FILE`` decrypts without us.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from pliers_db.errors import BackupCorrupt, BadSetting, NoIdentity

MAGIC = b"age-encryption.org/v1"
SUFFIX = ".age"
_CHUNK = 1 << 16


class Writes(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""


def parse_recipients(texts: Sequence[str], where: str) -> list[Any]:
    """Read public keys: ``age1…``, or ``ssh-ed25519 …`` and ``ssh-rsa …``.

    :param where: the option or setting, for the error.
    :raises BadSetting: a text is none, or the library is not installed.
    """
    pyrage = _library()
    found = []
    for text in texts:
        kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
        try:
            found.append(kind.Recipient.from_str(text))
        except pyrage.RecipientError:
            raise BadSetting(
                f"{text[:30]!r}… is no age recipient ({where})" if len(text) > 30 else f"{text!r} is none ({where})",
                why="A public key is expected: age1… as age-keygen prints it, or the line of an SSH public key.",
                fix="age-keygen -o key.txt makes a pair; keep key.txt away from this machine.",
            ) from None
    return found


def read_identities(file: Path) -> list[Any]:
    """Read secret keys: the file that age-keygen writes, or an SSH private key without a passphrase.

    :raises BadSetting: there is no usable key in it.
    """
    pyrage = _library()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} cannot be read", why=str(error), fix="Correct --identity.") from None
    try:
        if "PRIVATE KEY-----" in text:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        lines = [line.strip() for line in text.splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise BadSetting(
            f"{file} holds no usable key",
            why="A line AGE-SECRET-KEY-1… is expected, or an SSH private key without a passphrase.",
            fix="Correct --identity.",
        )
    return found


@contextmanager
def encrypting(to: Writes, recipients: Sequence[Any]) -> Iterator[BinaryIO]:
    """A stream; what is written into it arrives at ``to`` encrypted, all of it at the end of the block."""
    pyrage = _library()
    reader, writer = os.pipe()
    sink = _Careful(to)

    def work() -> None:
        with os.fdopen(reader, "rb") as plain:
            try:
                pyrage.encrypt_io(plain, sink, recipients)
            except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
                sink.error = sink.error or error

    thread = threading.Thread(target=work, name="age", daemon=True)
    thread.start()
    try:
        with os.fdopen(writer, "wb", _CHUNK) as stream:
            yield stream
    except BrokenPipeError:
        pass  # the thread has stopped reading; why, is told below
    finally:
        thread.join()
    if sink.error is not None:
        raise sink.error


@contextmanager
def decrypting(file: BinaryIO, identities: Sequence[Any], name: str) -> Iterator[BinaryIO]:
    """A stream with the plain content of an encrypted file.

    :param name: the file's, for errors.
    :raises NoIdentity: none of the keys opens it.
    :raises BackupCorrupt: it is damaged; raised at the end of the block at the latest.
    """
    if not identities:
        raise NoIdentity(f"{name} is encrypted", why="No key was given.", fix="--identity key.txt")
    pyrage = _library()
    reader, writer = os.pipe()
    errors: list[Exception] = []

    def work() -> None:
        with os.fdopen(writer, "wb", _CHUNK) as plain:
            try:
                pyrage.decrypt_io(file, _Careful(plain), identities)
            except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
                errors.append(error)

    thread = threading.Thread(target=work, name="age", daemon=True)
    thread.start()
    finished = False
    try:
        with os.fdopen(reader, "rb", _CHUNK) as stream:
            yield _Told(stream, thread, errors, name)  # type: ignore[misc]
            finished = True
    finally:
        thread.join()
    if finished and errors and not isinstance(errors[0], BrokenPipeError):
        raise _explain(errors[0], name)


class _Told(io.RawIOBase):
    """The plain stream; its end is an error if the decryption has failed."""

    def __init__(self, stream: BinaryIO, thread: threading.Thread, errors: list[Exception], name: str) -> None:
        self._stream, self._thread, self._errors, self._name = stream, thread, errors, name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        if not data:
            self._thread.join()
            if self._errors:
                raise _explain(self._errors[0], self._name)
        buffer[: len(data)] = data
        return len(data)


class _Careful:
    """Passes bytes on and remembers what went wrong: the library would hide it behind an error of its own."""

    def __init__(self, to: Writes) -> None:
        self._to = to
        self.error: Exception | None = None

    def write(self, data: bytes) -> int:
        try:
            self._to.write(data)
        except Exception as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        return


def _explain(error: Exception, name: str) -> Exception:
    if "no matching keys" in str(error).lower():
        return NoIdentity(
            f"No key that was given opens {name}",
            why="It was encrypted to others.",
            fix="--identity with the right key; the manifest names the recipients.",
        )
    return BackupCorrupt(f"{name} is damaged", why=str(error), fix="pliers-db backup list")


def _library() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError:
        raise BadSetting(
            "The library for encryption is not installed",
            why="age needs pyrage.",
            fix="pip install 'pliers-db[encrypt]'",
        ) from None
    return pyrage
