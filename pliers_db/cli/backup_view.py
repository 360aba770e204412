"""How ``pliers-db backup`` shows backups."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pliers_db.cli.console import emit
from pliers_db.units import format_count, format_duration, format_size

if TYPE_CHECKING:
    from pliers_db.backup import Backup


def tell_proof(backup: Backup) -> None:
    proof = backup.manifest.proof if backup.manifest else None
    if proof is None:
        emit(f"{backup.id} is broken: {backup.problem}")
    elif proof.good:
        assert backup.manifest is not None
        contents = backup.manifest.contents
        rows = "every row" if contents.hashed else "the number of rows"
        emit(
            f"{backup.id} is proved: {format_count(len(contents.tables), 'table')} and "
            f"{rows} equal on PostgreSQL {proof.server_version}, restored in {format_duration(proof.seconds)}"
        )
    else:
        emit(f"{backup.id} is broken; restored, it differs:")
        for finding in proof.findings:
            emit(f"  {finding}")


def told(backup: Backup) -> str:
    manifest = backup.manifest
    assert manifest is not None
    contents = manifest.contents
    took = (manifest.finished_at - manifest.started_at).total_seconds()
    return (
        f"Backed up {backup.database} as {backup.id}: {format_count(len(contents.tables), 'table')}, "
        f"{format_count(contents.rows, 'row')}, {format_size(manifest.size_bytes)} in {format_duration(took)}"
    )


def _age(backup: Backup) -> float:
    return (datetime.now(UTC) - backup.taken_at).total_seconds()


def cells(backup: Backup) -> tuple[str, ...]:
    manifest = backup.manifest
    if manifest is None:
        return (backup.id, backup.database, backup.state, format_duration(_age(backup)), "", "", "", "")
    return (
        backup.id,
        backup.database,
        backup.state,
        format_duration(_age(backup)),
        format_size(manifest.size_bytes),
        f"{manifest.contents.rows:,}",
        manifest.source.server_version.split()[0],
        manifest.label,
    )


def row(backup: Backup) -> dict[str, Any]:
    manifest = backup.manifest
    found: dict[str, Any] = {
        "id": backup.id,
        "database": backup.database,
        "state": backup.state,
        "problem": backup.problem or None,
        "taken_at": backup.taken_at,
        "age_seconds": round(_age(backup)),
        "path": str(backup.path),
    }
    if manifest is not None:
        found |= {
            "finished_at": manifest.finished_at,
            "size_bytes": manifest.size_bytes,
            "tables": len(manifest.contents.tables),
            "rows": manifest.contents.rows,
            "server_version": manifest.source.server_version,
            "environment": manifest.source.environment,
            "migrations": len(manifest.source.migrations),
            "compression": manifest.client.compression,
            "encrypted_to": list(manifest.encrypted_to),
            "label": manifest.label,
            "proof": None
            if manifest.proof is None
            else {
                "at": manifest.proof.at,
                "restore_seconds": manifest.proof.seconds,
                "server_version": manifest.proof.server_version,
                "findings": list(manifest.proof.findings),
            },
        }
    return found
