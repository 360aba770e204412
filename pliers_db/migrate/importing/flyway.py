"""Flyway: ``V1.2__name.sql``, its undo ``U1.2__name.sql``, repeatable ``R__name.sql``, and a ``.conf`` beside each."""

from __future__ import annotations

import re
from pathlib import Path
from zlib import crc32

from pliers_db.migrate.files import read_text
from pliers_db.migrate.importing.source import Findings, Foreign, Source, Text, Tool, id_of

FILE = re.compile(r"(?:([VUB])(\d+(?:[._]\d+)*)|R)__(.*)\.sql$")
_CODE = re.compile(r"(?:[VUB][\d._]+|R)__.*\.(java|kt|class|py|sh|bash|ps1|bat|cmd)$")
_CALLBACK = re.compile(r"(?:before|after)[A-Z]\w*(?:__.*)?\.(?:sql|sh|ps1|py)$|createSchema\b.*\.sql$")
_PLACEHOLDER = re.compile(r"\$\{[^}\n]*\}")
_SETTING = re.compile(r"\s*([A-Za-z.]+)\s*=\s*(.*?)\s*$")


def version_of(text: str) -> str:
    """A version as Flyway compares it: ``1_2`` is ``1.2``, ``1.0`` is ``1``, ``001`` is ``1``."""
    parts = [int(p) for p in re.split(r"[._]", text)]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return ".".join(map(str, parts))


def version_key(version: str) -> tuple[int, ...]:
    """The order of versions."""
    return tuple(int(p) for p in version.split("."))


def checksum(text: str) -> str:
    """Flyway's CRC-32: of the lines without their ends, as a signed number."""
    value = crc32("".join(re.split(r"\r\n|\r|\n", text)).encode())
    return str(value - (1 << 32) if value >= 1 << 31 else value)


def read(path: Path, names: list[str]) -> Source:
    """Read a folder of Flyway's; it applies the versions in their order, whatever subfolder they stand in.

    :param names: of the files, relative, subfolders too.
    """
    findings = Findings()
    found: dict[str, list[Foreign]] = {"V": [], "U": [], "R": []}
    for name in sorted(names):
        file, base = path / name, name.rpartition("/")[2]
        match = FILE.match(base)
        if match is None:
            _other(file, base, findings)
            continue
        kind, number, description = match[1] or "R", match[2] or "", match[3]
        if kind == "B":
            findings.add(file, 1, "a baseline migration", "Move it away, and import the versions it stands for.")
            continue
        found[kind].append(_migration(file, number, description, findings))
    undo = {m.version: m for m in found["U"]}
    migrations = []
    for each in sorted(found["V"], key=lambda m: version_key(m.version)):
        back = undo.pop(each.version, None)
        migrations.append(
            Foreign(
                each.version,
                each.id,
                each.up,
                back.up if back else None,
                each.transactional,
                back.transactional if back else None,
                checksum=each.checksum,
            )
        )
    for lonely in undo.values():
        findings.add(lonely.up.path, 1, "it undoes a version that is not here", "Add that version, or remove this.")
    findings.twice(migrations)
    if found["R"]:
        findings.notes.append(
            f"{len(found['R'])} repeatable become post-apply*.sql: they run after each up that applied something, "
            "not when they have changed"
        )
    return Source(
        Tool.FLYWAY, path, tuple(migrations), tuple(found["R"]), tuple(findings.problems), tuple(findings.notes)
    )


def _other(file: Path, name: str, findings: Findings) -> None:
    if code := _CODE.match(name):
        findings.add(file, 1, f"a migration in .{code[1]}", "Write what it does as .sql of the same version.")
    elif _CALLBACK.match(name):
        findings.add(file, 1, "a callback", "Move it away; what is to run after each up becomes post-apply_NAME.sql.")
    elif name.endswith(".sql"):
        findings.notes.append(f"{file} is no migration of Flyway and stays behind")


def _migration(file: Path, number: str, description: str, findings: Findings) -> Foreign:
    text = read_text(file)
    transactional, replaces = _settings(file.with_name(f"{file.name}.conf"), findings)
    if replaces:
        for line, content in enumerate(text.split("\n"), 1):
            for placeholder in _PLACEHOLDER.findall(content):
                findings.add(file, line, f"the placeholder {placeholder}", "Write its value in a copy of the folder.")
    up = Text(file, text)
    if not number:
        return Foreign("", id_of("post-apply", description), up, transactional=transactional, depends=())
    return Foreign(
        version_of(number),
        id_of(number.replace("_", "."), description),
        up,
        transactional=transactional,
        checksum=checksum(text),
    )


def _settings(file: Path, findings: Findings) -> tuple[bool | None, bool]:
    """What a script's own configuration says: executeInTransaction, placeholderReplacement."""
    transactional: bool | None = None
    replaces = True
    if not file.is_file():
        return transactional, replaces
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        setting = _SETTING.match(line)
        name, value = (setting[1].removeprefix("flyway."), setting[2].lower()) if setting else ("", "")
        match name, value:
            case "executeInTransaction", "true" | "false":
                transactional = value == "true"
            case "placeholderReplacement", "true" | "false":
                replaces = value == "true"
            case "encoding", "utf-8" | "utf8":
                pass
            case _:
                findings.add(file, number, f"{line.strip()!r} has nothing like it here", "Do without it.")
    return transactional, replaces
