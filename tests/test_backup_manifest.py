"""Manifests outlive the program that wrote them: old ones are read, newer ones are named."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from pliers_db.backup import LATEST, Contents, Manifest, Repository
from pliers_db.backup.manifest import (
    BadManifest,
    Client,
    Extension,
    NewerManifest,
    Proof,
    SequenceValue,
    Source,
    StoredFile,
    TableContent,
    load_manifest,
)
from pliers_db.errors import BackupTooNew

AT = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)
WHOLE = Manifest(
    id="20261122T021000Z-shop-abcdef",
    started_at=AT,
    finished_at=AT,
    source=Source(
        database="shop",
        server_version="18.6",
        server_version_num=180006,
        size_bytes=8_000_000,
        encoding="UTF8",
        collate="C",
        ctype="C",
        environment="production",
        extensions=(Extension("vector", "0.8.2", "public"),),
        roles=("app",),
    ),
    client=Client(major=18, format="custom", packed=True, version="18.6", tool="pliers-db 0.1"),
    dump="dump.pgc.zst",
    contents=Contents((TableContent("public.a", 3, "abc"),), (SequenceValue("public.s", 7, 2, True),), 4, "def"),
    files=(StoredFile("dump.pgc.zst", 10, "0" * 64),),
    proof=Proof(AT, 1.5, "18.6", "pliers-db 0.1"),
)


def sealed(body: dict[str, Any]) -> str:
    """As a pliers-db would have written it."""
    body = {name: value for name, value in body.items() if name != "self_sha256"}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({**body, "self_sha256": hashlib.sha256(canonical.encode()).hexdigest()})


def parts(kind: Any, body: Any) -> list[tuple[Any, str, dict[str, Any]]]:
    """Each field of the document: its dataclass, its name, and the object of the document that holds it."""
    found = []
    hints = get_type_hints(kind)
    for field in fields(kind):
        found.append((field, field.name, body))
        for inner in (hints[field.name], *get_args(hints[field.name])):
            if is_dataclass(inner):
                held = body[field.name]
                found += parts(inner, held[0] if isinstance(held, list) else held)
    return found


def test_a_manifest_comes_back_as_it_was_written() -> None:
    assert load_manifest(WHOLE.to_json()) == WHOLE


@pytest.mark.parametrize("number", range(len(parts(Manifest, WHOLE.as_dict()))))
def test_an_older_manifest_lacks_what_came_later_and_is_read_and_nothing_else_may_lack(number: int) -> None:
    body = WHOLE.as_dict()
    field, name, holder = parts(Manifest, body)[number]
    del holder[name]
    if field.default is MISSING or name == "schema_version":
        with pytest.raises(BadManifest, match=name):
            load_manifest(sealed(body))
    else:
        assert load_manifest(sealed(body)).id == WHOLE.id


def test_what_a_later_version_adds_is_passed_over() -> None:
    body = WHOLE.as_dict()
    body["moon"] = "full"
    body["source"]["tide"] = {"high": 3}
    assert load_manifest(sealed(body)) == WHOLE


def test_a_manifest_of_a_newer_layout_is_named_and_its_backup_neither_used_nor_removed(tmp_path: Path) -> None:
    body = WHOLE.as_dict() | {"schema_version": 2}
    body["client"] = {"tool": "pliers-db 7.0"}
    with pytest.raises(NewerManifest, match=r"pliers-db 7\.0 wrote it \(manifest version 2"):
        load_manifest(json.dumps(body))
    folder = tmp_path / "logical" / "shop" / WHOLE.id
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(body))
    repository = Repository(tmp_path)
    found = repository.find(LATEST, "shop")
    assert (found.state, found.good, repository.checked(found)) == ("newer", False, found)
    with pytest.raises(BackupTooNew, match="too new") as caught:
        repository.check_files(found)
    assert "--upgrade" in caught.value.fix


@pytest.mark.parametrize("version", [0, None, "2", 1.5])
def test_a_version_that_is_none_is_a_broken_manifest(version: object) -> None:
    with pytest.raises(BadManifest) as caught:
        load_manifest(json.dumps(WHOLE.as_dict() | {"schema_version": version}))
    assert not isinstance(caught.value, NewerManifest)
