"""sqitch: a plan that orders changes, and a deploy and a revert script for each."""

from __future__ import annotations

import re
from configparser import ConfigParser, Error
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

from pliers_db.migrate.files import read_text
from pliers_db.migrate.importing.source import Findings, Foreign, Source, Text, Tool, id_of
from pliers_db.units import format_count

PLAN = "sqitch.plan"
_LINE = re.compile(
    r"\s*(?P<sign>[@+-]?)\s*(?P<name>[^\s@\[\]:#]+)\s*(?:\[(?P<needs>[^\]]*)\])?"
    r"\s*(?P<at>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\s"
)
_PRAGMA = re.compile(r"\s*%\s*([\w-]+)\s*=\s*(.*?)\s*$")
_NEED = re.compile(r"(?P<conflict>!?)(?:(?P<project>[^\s:@]+):)?(?P<name>[^\s:@]*)(?:@(?P<tag>\S+))?$")
# Settings that move scripts to other places than deploy/ and revert/.
_MOVED = ("plan_file", "extension", "deploy_dir", "revert_dir", "reworked_dir")


@dataclass(slots=True)
class Change:
    """A line of the plan."""

    name: str
    planned_at: str
    line: int
    needs: list[str]
    tags: list[str] = field(default_factory=list)


def read(path: Path, names: list[str]) -> Source:
    """Read a project of sqitch's: its plan, and the scripts that the plan names."""
    findings = Findings()
    config = _config(path, findings)
    top = path / (config.get("core", "top_dir", fallback="") or ".")
    plan = path / PLAN if (path / PLAN).is_file() else top / PLAN
    project, changes = parse_plan(plan, read_text(plan), findings)
    width = max(4, len(str(len(changes))))
    ids = [id_of(str(n).zfill(width), c.name) for n, c in enumerate(changes, 1)]
    migrations = []
    for place, change in enumerate(changes):
        deploy = _script(top / "deploy", changes, place)
        if not deploy.is_file():
            findings.add(plan, change.line, f"{change.name} has no {deploy}", "Bring that script back.")
            continue
        revert = _script(top / "revert", changes, place)
        migrations.append(
            Foreign(
                f"{change.name} {change.planned_at}",
                ids[place],
                Text(deploy, read_text(deploy)),
                Text(revert, read_text(revert)) if revert.is_file() else None,
                depends=_depends(changes, place, ids, plan, findings),
                checksum=sha1(deploy.read_bytes()).hexdigest(),  # what sqitch records; no secret
            )
        )
    tags = sum(len(c.tags) for c in changes)
    if tags:
        findings.notes.append(f"{format_count(tags, 'tag')} of {plan} stay behind")
    if (top / "verify").is_dir() and any((top / "verify").iterdir()):
        findings.notes.append(f"the scripts in {top / 'verify'} stay behind; pliers-db migrate verify needs none")
    return Source(
        Tool.SQITCH,
        path,
        tuple(migrations),
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
        project=project,
        registry=config.get('engine "pg"', "registry", fallback=""),
    )


def parse_plan(path: Path, text: str, findings: Findings) -> tuple[str, list[Change]]:
    """The project's name and its changes, in order."""
    project, changes = "", list[Change]()
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition("#")[0]
        if not code.strip():
            continue
        if pragma := _PRAGMA.match(code):
            if pragma[1] == "project":
                project = pragma[2]
            continue
        found = _LINE.match(code + " ")
        if found is None or (found["sign"] == "@" and not changes):
            findings.add(path, number, f"{line.strip()[:60]!r} is no line of a plan", "Correct it.")
        elif found["sign"] == "@":
            changes[-1].tags.append(found["name"])
        elif found["sign"] == "-":
            findings.add(path, number, f"-{found['name']}: a revert in the plan", "Write it as a change of its own.")
        else:
            needs = (found["needs"] or "").split()
            changes.append(Change(found["name"], found["at"], number, needs))
    return project, changes


def _config(path: Path, findings: Findings) -> ConfigParser:
    """The project's configuration, as far as it is not about places that are unknown here."""
    file = path / "sqitch.conf"
    config = ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        config.read_string(read_text(file) if file.is_file() else "")
    except Error as error:
        findings.add(file, 1, f"it cannot be read: {' '.join(str(error).split())}", "Correct it.")
        return ConfigParser()
    for section in config.sections():
        for name in _MOVED:
            if section.split()[0] in ("core", "engine", "target") and config.has_option(section, name):
                findings.add(file, 1, f"[{section}] {name}: scripts in other places", "Move them to deploy/, revert/.")
    return config


def _script(folder: Path, changes: list[Change], place: int) -> Path:
    """The script of a change; of one that was reworked later it has the name of a tag in between."""
    change = changes[place]
    again = next((n for n in range(place + 1, len(changes)) if changes[n].name == change.name), None)
    if again is None:
        return folder / f"{change.name}.sql"
    tagged = [folder / f"{change.name}@{tag}.sql" for each in changes[place:again] for tag in each.tags]
    return next((file for file in tagged if file.is_file()), tagged[0] if tagged else folder / f"{change.name}.sql")


def _depends(changes: list[Change], place: int, ids: list[str], plan: Path, findings: Findings) -> tuple[str, ...]:
    wanted = []
    change = changes[place]
    for text in change.needs:
        need = _NEED.match(text)
        if need is None or need["project"]:
            findings.add(plan, change.line, f"[{text}] needs another project", "Import the projects as one.")
            continue
        if need["conflict"]:
            findings.notes.append(f"{plan}:{change.line}: the conflict {text} stays behind: the order is fixed now")
            continue
        before = [n for n in range(place) if _means(changes, n, need["name"], need["tag"])]
        if before:
            wanted.append(ids[before[-1]])
        else:
            findings.add(plan, change.line, f"[{text}] is not in the plan before it", "Correct the plan.")
    return tuple(dict.fromkeys(wanted))


def _means(changes: list[Change], place: int, name: str, tag: str | None) -> bool:
    """Whether a dependency means this change: by name, by tag, or by name as of a tag."""
    if not name:
        return tag in changes[place].tags
    if changes[place].name != name:
        return False
    return tag is None or any(tag in each.tags for each in changes[place:])
