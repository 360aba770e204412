"""What an import is going to do: their folder and history, our folder and history in, plan out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from pliers_db.errors import ImportConflict, NotImportable
from pliers_db.migrate.edits import same_meaning
from pliers_db.migrate.files import folder_of_texts, migration_hash
from pliers_db.migrate.importing.convert import Conversion, Converted
from pliers_db.migrate.importing.flyway import version_key
from pliers_db.migrate.importing.source import Source, Tool
from pliers_db.migrate.importing.theirs import Record, Theirs
from pliers_db.units import format_count

_NAMED = 20  # problems that an error lists


class Fate(StrEnum):
    """What becomes of a migration's record in the database."""

    MARK = "marked applied"
    """It is applied there, and is put on record here."""
    UNVERIFIED = "marked unverified"
    """The same, but its file was edited since: what was run is not known."""
    KNOWN = "on record"
    """Our history knows it already, and is believed."""
    PENDING = "pending"
    """Not applied: `up` will."""


@dataclass(frozen=True, slots=True)
class Item:
    """One migration of the import."""

    migration: Converted
    fate: Fate
    at: datetime | None = None
    """When the other tool applied it, if it says so."""
    ms: float | None = None
    new: bool = True
    """Whether a file is to be written."""


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import does."""

    tool: Tool
    source: Path
    target: Path
    table: str | None
    """Their history in the database; None: there is none."""
    items: tuple[Item, ...]
    files: Mapping[str, str]
    """What is to be written into the target, by name, in order."""
    notes: tuple[str, ...] = ()

    def of(self, *fates: Fate) -> tuple[Item, ...]:
        """The migrations of these fates."""
        return tuple(i for i in self.items if i.fate in fates)

    @property
    def marks(self) -> tuple[Item, ...]:
        """What is to be put on record."""
        return self.of(Fate.MARK, Fate.UNVERIFIED)

    @property
    def empty(self) -> bool:
        """Whether everything is done already."""
        return not self.files and not self.marks


def check_source(source: Source, conversion: Conversion) -> None:
    """Go on only with a folder that comes along as a whole.

    :raises NotImportable: names each file and line that does not.
    """
    problems = conversion.problems
    if not problems:
        return
    lines = [p.text for p in problems[:_NAMED]]
    if len(problems) > _NAMED:
        lines.append(f"… {len(problems) - _NAMED} more")
    fixes = list(dict.fromkeys(p.fix for p in problems if p.fix))
    raise NotImportable(
        f"{format_count(len(problems), 'place')} in {source.path} cannot come along; nothing was written",
        why="\n".join(lines),
        fix=" ".join(fixes[:4]),
        problems=[{"place": p.text, "fix": p.fix} for p in problems],
    )


def plan_import(
    source: Source,
    conversion: Conversion,
    theirs: Theirs,
    target: Path,
    existing: Mapping[str, str],
    recorded: Collection[str],
    *,
    forget_missing: bool = False,
) -> ImportPlan:
    """Lay the four beside each other.

    :param existing: the files of the target folder, by name.
    :param recorded: the hashes of the migrations that our log knows.
    :param forget_missing: pass over versions that are applied there and have no file.
    :raises NotImportable: the folder does not come along as a whole.
    :raises ImportConflict: the target has another file of the same name, or a version is applied without a file.
    """
    check_source(source, conversion)
    applied = _applied(source, theirs)
    notes = list(conversion.notes)
    lost = [r.version for r in theirs.records if r.version not in {m.version for m in conversion.migrations}]
    if lost:
        _tell_missing(source, theirs, lost, forget_missing, notes)
    files = _files(conversion, existing)
    folder_of_texts(target, {**existing, **files})  # raises what the whole would stumble over
    items = []
    for each in conversion.migrations:
        record = applied.get(each.version)
        fate = _fate(each, record, source.tool, recorded)
        if fate is Fate.UNVERIFIED:
            notes.append(f"{each.path} was edited after {source.tool} applied it: what was run is not known")
        at = record.at.astimezone(UTC) if record and record.at else None
        items.append(Item(each, fate, at, record.ms if record else None, f"{each.id}.sql" in files))
    return ImportPlan(source.tool, source.path, target, theirs.table, tuple(items), files, tuple(notes))


def _applied(source: Source, theirs: Theirs) -> dict[str, Record]:
    applied = {r.version: r for r in theirs.records}
    if theirs.upto is not None:
        last = version_key(theirs.upto.version)
        for each in source.migrations:
            if version_key(each.version) <= last:
                applied.setdefault(each.version, theirs.upto)
    return applied


def _tell_missing(source: Source, theirs: Theirs, lost: list[str], forget: bool, notes: list[str]) -> None:
    names = ", ".join(lost[:_NAMED]) + (", …" if len(lost) > _NAMED else "")
    what = f"{format_count(len(lost), 'version')} applied as {theirs.table} says, but without a file: {names}"
    if forget:
        notes.append(what)
        return
    raise ImportConflict(
        f"{what}; nothing was written",
        why=f"{source.path} is not the folder that this database was built from, or not all of it.",
        fix="Bring the files back, for example with git; or go on without them: --forget-missing",
        versions=lost,
    )


def _files(conversion: Conversion, existing: Mapping[str, str]) -> dict[str, str]:
    """What is to be written: each rollback before its migration, which is never there without it."""
    files: dict[str, str] = {}
    for each in (*conversion.migrations, *conversion.hooks):
        wanted = {f"{each.id}.rollback.sql": each.rollback} if each.rollback is not None else {}
        for name, text in {**wanted, f"{each.id}.sql": each.text}.items():
            there = existing.get(name)
            if there is None:
                assert text is not None
                files[name] = text
            elif there != text and not same_meaning(there, text or ""):
                raise ImportConflict(
                    f"{name} is in the migrations folder already, and says something else; nothing was written",
                    why=f"It would come from {each.path}.",
                    fix="Import into another folder (--dir), or undo the edit of one of the two.",
                )
    return files


def _fate(each: Converted, record: Record | None, tool: Tool, recorded: Collection[str]) -> Fate:
    if migration_hash(each.id) in recorded:
        return Fate.KNOWN
    if record is None:
        return Fate.PENDING
    if record.checksum is None or each.checksum is None:
        return Fate.MARK
    same = same_meaning(record.checksum, each.checksum) if tool is Tool.SUPABASE else record.checksum == each.checksum
    return Fate.MARK if same else Fate.UNVERIFIED
