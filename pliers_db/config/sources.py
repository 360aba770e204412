"""Where settings come from: the flag, the process environment, the ``.env`` files, highest first."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pliers_db.config.environment import Environment, parse_environment
from pliers_db.config.project import current_folder
from pliers_db.config.variables import VARIABLES
from pliers_db.errors import BadSetting, TwoSources

FLAG = "--database-url"
PROCESS = "process environment"
_FILE_LIMIT = 64 * 1024  # no password or URL is longer; /dev/zero is


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a ``.env`` file."""

    name: str
    value: str | None
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings."""

    name: str
    values: Mapping[str, str]
    folder: Path
    """What a relative path in a value is relative to."""
    entries: tuple[Entry, ...] = ()
    """The lines, of a file."""

    def get(self, name: str) -> str | None:
        """A value; an empty one counts as absent, as in compose files that pass every variable on."""
        return self.values.get(name) or None

    def path(self, name: str) -> Path | None:
        """A value that is a path."""
        text = self.get(name)
        return None if text is None else self.folder / Path(text).expanduser()

    def secret(self, name: str) -> str | None:
        """The value of NAME, or the content of the file that NAME_FILE names.

        :raises TwoSources: both are set.
        :raises BadSetting: the file cannot be read.
        """
        direct, path = self.get(name), self.path(f"{name}_FILE")
        if path is None:
            return direct
        if direct is not None:
            raise TwoSources(
                f"{name} and {name}_FILE are both set ({self.name})",
                why="Nobody could tell which of the two is used.",
                fix=f"Unset {name} or {name}_FILE.",
                setting=name,
                source=self.name,
            )
        return self._content(f"{name}_FILE", path)

    def _content(self, name: str, path: Path) -> str:
        def bad(why: str, fix: str) -> BadSetting:
            return BadSetting(f"{name} ({self.name}) cannot be used", why=why, fix=fix, setting=name, source=self.name)

        try:
            with path.open("rb") as file:
                content = file.read(_FILE_LIMIT + 1)
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise bad(f"{path}: {error.strerror}.", "Correct the path or the file's permissions.") from None
        except UnicodeDecodeError:
            raise bad(f"{path} is not UTF-8 text.", "Write the secret as UTF-8.") from None
        if len(content) > _FILE_LIMIT:
            raise bad(f"{path} is longer than any secret.", "Name the file that holds the secret alone.")
        text = text.removesuffix("\n").removesuffix("\r")  # as editors and Docker leave it
        if not text:
            raise bad(f"{path} is empty.", "Write the secret into it.")
        if "\n" in text or "\0" in text:
            raise bad(f"{path} has more than one line.", "Name a file that holds the secret alone.")
        return text


def find_environment(flag: str | None, environ: Mapping[str, str], root: Path) -> tuple[Environment, str]:
    """Which environment a run is for, and where that was said: ``--env``, ``PLIERS_ENV``, ``ENV``, development.

    The variables are looked up in the process environment, then in ``.env``.
    """
    if flag is not None:
        return parse_environment(flag, "--env"), "--env"
    base = read_env_file(root / ".env").values
    for name in ("PLIERS_ENV", "ENV"):
        for values, source in ((environ, PROCESS), (base, ".env")):
            value = values.get(name, "").strip()
            if value and not (name == "ENV" and is_shell_file(value)):
                return parse_environment(value, f"{name}, {source}"), f"{name} ({source})"
    return Environment.DEVELOPMENT, "default"


def is_shell_file(value: str) -> bool:
    """Whether the value of ENV is a path: POSIX shells name their start-up file by it."""
    return "/" in value or value.startswith(("~", "$"))


def file_names(environment: Environment) -> list[str]:
    """The ``.env`` files that an environment reads, highest first."""
    names = [f".env.{environment}.local", f".env.{environment}", ".env.local", ".env"]
    if environment is Environment.TEST:  # a personal file must not change what the tests see
        names.remove(".env.local")
    return names


def read_layers(
    flag: str | None, environ: Mapping[str, str], root: Path, environment: Environment, folder: Path | None = None
) -> list[Layer]:
    """Every source, highest first. ``.env`` files are read from the project's root and never put into ``os.environ``.

    :param flag: the value of ``--database-url``.
    :param folder: what a relative path in the process environment is relative to; default: the current folder.
    """
    folder = folder or current_folder()
    layers = [Layer(PROCESS, environ, folder)]
    if flag is not None:
        layers.insert(0, Layer(FLAG, {"DATABASE_URL": flag}, folder))
    files = [root / name for name in file_names(environment)]
    return layers + [read_env_file(file) for file in files if file.is_file()]


def read_env_file(file: Path) -> Layer:
    """Read a ``.env`` file; an absent one is empty. Values are taken as they stand: ``${X}`` is not expanded.

    :raises BadSetting: the file cannot be read; names the line, never its text.
    """
    if not file.is_file():
        return Layer(file.name, {}, file.parent)
    # python-dotenv's dotenv_values would hide lines that it cannot read behind a log message, and repeated names.
    from dotenv.parser import parse_stream

    try:
        text = file.read_text(encoding="utf-8-sig")  # a BOM would become a part of the first name
    except OSError as error:
        raise BadSetting(
            f"{file.name} cannot be read", why=f"{file}: {error.strerror}.", fix=f"chmod u+r {file}", source=file.name
        ) from None
    except UnicodeDecodeError:
        raise BadSetting(
            f"{file.name} cannot be read", why=f"{file} is not UTF-8 text.", fix="Save it as UTF-8.", source=file.name
        ) from None
    entries = []
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line + _leading_lines(binding.original.string)
        if binding.error:
            raise BadSetting(
                f"{file.name}, line {line}, cannot be read",
                why="It is not of the form NAME=value, or a quote is not closed.",
                fix="Quote a value that holds quotes, blanks or #: NAME='value'.",
                source=file.name,
            )
        if binding.key is not None:
            entries.append(Entry(binding.key, binding.value, line, binding.original.string.strip()))
    values = {e.name: e.value for e in entries if e.value is not None}
    for name in (name for name, variable in VARIABLES.items() if variable.process_only):
        values.pop(name, None)
    return Layer(file.name, values, file.parent, tuple(entries))


def _leading_lines(text: str) -> int:
    """Blank lines before a binding count as a part of it."""
    return text[: len(text) - len(text.lstrip())].count("\n")
