"""Table by table: what each constraint of the Pliers schema lets in, and what it keeps out.

A case names a constraint and gives values over a row that is otherwise in order. The last tests hold the list against
the catalog: a constraint that stands in the database but not here is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from pliers_db.db import Connection
from tests.fix_pliers import (
    ACME,
    ANN,
    BEN,
    DIGEST,
    FORM,
    OTHER,
    OTHER_FORM,
    OTHER_SUBMISSION,
    RUN,
    SUBMISSION,
    WORKFLOW,
    an_id,
    insert,
)

NOBODY = an_id(99)
LONG = "x" * 201
A_TIME = "2026-11-22 12:00+00"
LATER = "2026-11-23 12:00+00"
Row = dict[str, Any]

# A row that every constraint lets in, next to those of WORLD.
GOOD: dict[str, Row] = {
    "organizations": {"slug": "new", "name": "New"},
    "users": {"email": "new@example.com", "display_name": "New"},
    "memberships": {"organization_id": ACME, "user_id": BEN},
    "forms": {"organization_id": ACME, "slug": "survey", "title": "Survey"},
    "form_versions": {
        "organization_id": ACME,
        "form_id": FORM,
        "version": 2,
        "definition": '{"fields": []}',
        "definition_sha256": DIGEST,
    },
    "submissions": {"organization_id": ACME, "form_id": FORM, "form_version": 1},
    "workflows": {"organization_id": ACME, "form_id": FORM, "name": "Notify"},
    "workflow_runs": {
        "organization_id": ACME,
        "workflow_id": WORKFLOW,
        "workflow_version": 1,
        "definition": '{"steps": []}',
    },
    "workflow_run_steps": {
        "organization_id": ACME,
        "run_id": RUN,
        "seq": 1,
        "attempt": 1,
        "step_key": "mail",
        "step_type": "email",
    },
    "events": {
        "organization_id": ACME,
        "type": "form.published",
        "actor_type": "system",
        "subject_type": "form",
        "subject_id": FORM,
    },
    "outbox": {"organization_id": ACME, "topic": "webhook", "payload": "{}"},
    "idempotency_keys": {
        "organization_id": ACME,
        "scope": "submission.create",
        "key": "k",
        "fingerprint": DIGEST,
    },
    "embeddings": {
        "organization_id": ACME,
        "subject_type": "form",
        "subject_id": FORM,
        "model": "all-MiniLM-L6-v2",
        "content_sha256": DIGEST,
        "embedding": str([0.5] * 384),
    },
}
RUNNING: Row = {"state": "running", "lease_owner": "worker-1", "lease_until": LATER, "started_at": A_TIME}


@dataclass(frozen=True)
class Case:
    """What one constraint says to a row. ``after`` goes in before it (the same table, values over the good row)."""

    table: str
    constraint: str
    accepts: list[Row]
    refuses: list[Row]
    after: Row | None = None


def keyed_list(name: str) -> tuple[list[Row], list[Row]]:
    """Values that can stand in a definition, and that can't."""
    item = '{"key": "a", "type": "text"}'
    long_key = "k" * 64
    accepts = [
        f'{{"{name}": []}}',
        f'{{"{name}": [{item}]}}',
        f'{{"{name}": [{item}, {{"key": "b_2", "type": "email", "label": "B"}}], "theme": {{}}}}',
    ]
    refuses = [
        "{}",
        "[]",
        "null",
        f'{{"{name}": null}}',
        f'{{"{name}": {{}}}}',
        f'{{"{name}": ["a"]}}',
        f'{{"{name}": [null]}}',
        f'{{"{name}": [{{"key": "a"}}]}}',
        f'{{"{name}": [{{"type": "text"}}]}}',
        f'{{"{name}": [{{"key": 1, "type": "text"}}]}}',
        f'{{"{name}": [{{"key": "a", "type": 1}}]}}',
        f'{{"{name}": [{{"key": null, "type": "text"}}]}}',
        f'{{"{name}": [{{"key": "A b", "type": "text"}}]}}',
        f'{{"{name}": [{{"key": "{long_key}", "type": "text"}}]}}',
        f'{{"{name}": [{item}, {item}]}}',
    ]
    return [{"definition": d} for d in accepts], [{"definition": d} for d in refuses]


def values(column: str, *accepted: Any) -> list[Row]:
    return [{column: value} for value in accepted]


SLUGS = values("slug", "a", "a-b-2", "2026", "x" * 63)
BAD_SLUGS = values("slug", "", "A", "a--b", "-a", "a-", "a b", "ä", "a\n", "x" * 64)
TITLES = ("A", "x" * 200)
BAD_TITLES = ("", "   ", LONG)
OBJECTS = ("{}", '{"a": 1}')
NO_OBJECTS = ("[]", "null", '"a"', "1")
DIGESTS = (DIGEST,)
NO_DIGESTS = (b"", b"x", bytes(31), bytes(33))

CASES = [
    # ── organizations ───────────────────────────────────────────────────────────────────────────────────────
    Case("organizations", "organizations_pkey", [{"id": NOBODY}], [{"id": ACME}]),
    Case(
        "organizations",
        "organizations_slug_key",
        values("slug", "unheard-of"),
        values("slug", "acme", "gone"),  # a deleted tenant's slug stays taken
        after={"slug": "gone", "deleted_at": A_TIME},
    ),
    Case("organizations", "organizations_slug_format", SLUGS, BAD_SLUGS),
    Case("organizations", "organizations_name_length", values("name", *TITLES), values("name", *BAD_TITLES)),
    Case(
        "organizations",
        "organizations_status_known",
        values("status", "active", "suspended"),
        values("status", "", "deleted"),
    ),
    Case(
        "organizations",
        "organizations_plan_known",
        values("plan", "free", "team", "business", "enterprise"),
        values("plan", "", "gold"),
    ),
    Case(
        "organizations",
        "organizations_settings_object",
        values("settings", *OBJECTS),
        values("settings", *NO_OBJECTS),
    ),
    # ── users ───────────────────────────────────────────────────────────────────────────────────────────────
    Case("users", "users_pkey", [{"id": NOBODY}], [{"id": ANN}]),
    Case("users", "users_email_key", values("email", "cleo@example.com"), values("email", "ann@example.com")),
    Case(
        "users",
        "users_email_format",
        values("email", "a@b", "o'neil+x@sub.example.com", "ü@example.com", "x" * 242 + "@example.com"),
        values("email", "", "a", "@", "a@", "@b", "a b@c", "a@b@c", "Ann@example.com", "x" * 243 + "@example.com"),
    ),
    Case("users", "users_display_name_length", values("display_name", *TITLES), values("display_name", *BAD_TITLES)),
    Case(
        "users",
        "users_locale_format",
        values("locale", "en", "pt-BR", "zh-Hant-TW"),
        values("locale", "", "EN", "english", "pt_BR", "en-"),
    ),
    # ── memberships ─────────────────────────────────────────────────────────────────────────────────────────
    Case("memberships", "memberships_pkey", [{"user_id": BEN}], [{"user_id": ANN}]),
    Case(
        "memberships",
        "memberships_organization_id_fkey",
        [{"organization_id": OTHER}],
        [{"organization_id": NOBODY}],
    ),
    Case("memberships", "memberships_user_id_fkey", [{"user_id": BEN}], [{"user_id": NOBODY}]),
    Case("memberships", "memberships_invited_by_fkey", values("invited_by", ANN, None), [{"invited_by": NOBODY}]),
    Case(
        "memberships",
        "memberships_role_known",
        values("role", "owner", "admin", "editor", "viewer"),
        values("role", "", "Owner", "root"),
    ),
    Case(
        "memberships",
        "memberships_status_known",
        values("status", "invited", "active", "suspended"),
        values("status", "", "deleted"),
    ),
    # ── forms ───────────────────────────────────────────────────────────────────────────────────────────────
    Case("forms", "forms_pkey", [{"id": NOBODY}, {"id": OTHER_FORM}], [{"id": FORM}]),
    Case("forms", "forms_organization_id_fkey", [{"organization_id": OTHER}], [{"organization_id": NOBODY}]),
    Case("forms", "forms_created_by_fkey", values("created_by", ANN, None), [{"created_by": NOBODY}]),
    Case(
        "forms",
        "forms_slug_key",
        [
            {"slug": "new"},
            {"organization_id": OTHER, "slug": "old"},
            {"slug": "old"},  # its form is deleted
            {"slug": "contact", "deleted_at": A_TIME},
        ],
        [{"slug": "contact"}, {"organization_id": OTHER, "slug": "contact"}],
        after={"slug": "old", "deleted_at": A_TIME},
    ),
    Case("forms", "forms_slug_format", SLUGS, BAD_SLUGS),
    Case("forms", "forms_title_length", values("title", *TITLES), values("title", *BAD_TITLES)),
    Case(
        "forms",
        "forms_description_length",
        values("description", "", "x" * 10_000),
        values("description", "x" * 10_001),
    ),
    Case("forms", "forms_status_known", values("status", "draft", "archived"), values("status", "", "open")),
    Case(
        "forms",
        "forms_published_has_version",
        [
            {"status": "draft"},
            {"status": "archived"},
            {"status": "published", "published_version": 1},  # the version may follow: its foreign key is deferred
            {"status": "closed", "published_version": 1},
        ],
        [{"status": "published"}, {"status": "closed"}],
    ),
    Case("forms", "forms_definition_valid", *keyed_list("fields")),
    Case(
        "forms",
        "forms_retention_days_range",
        values("retention_days", None, 1, 36_500),
        values("retention_days", 0, -1, 36_501),
    ),
    Case("forms", "forms_revision_positive", values("revision", 1, 2), values("revision", 0, -1)),
    Case(
        "forms",
        "forms_published_version_fkey",
        [{"published_version": None}],
        # Another form's version, and one of another tenant.
        [{"published_version": 1}, {"id": OTHER_FORM, "published_version": 1}],
    ),
    # ── form_versions ───────────────────────────────────────────────────────────────────────────────────────
    Case("form_versions", "form_versions_pkey", values("version", 2, 7), values("version", 1)),
    Case(
        "form_versions",
        "form_versions_form_id_fkey",
        [{"organization_id": OTHER, "form_id": OTHER_FORM}],
        [{"form_id": NOBODY}, {"form_id": OTHER_FORM}, {"organization_id": OTHER}],
    ),
    Case(
        "form_versions", "form_versions_published_by_fkey", values("published_by", ANN, None), [{"published_by": FORM}]
    ),
    Case("form_versions", "form_versions_version_positive", values("version", 2), values("version", 0, -1)),
    Case("form_versions", "form_versions_definition_valid", *keyed_list("fields")),
    Case(
        "form_versions",
        "form_versions_definition_sha256_length",
        values("definition_sha256", *DIGESTS),
        values("definition_sha256", *NO_DIGESTS),
    ),
    # ── submissions ─────────────────────────────────────────────────────────────────────────────────────────
    Case("submissions", "submissions_pkey", [{"id": NOBODY}, {"id": OTHER_SUBMISSION}], [{"id": SUBMISSION}]),
    Case(
        "submissions",
        "submissions_form_version_fkey",
        [{"organization_id": OTHER, "form_id": OTHER_FORM}],
        [{"form_version": 2}, {"form_id": OTHER_FORM}, {"organization_id": OTHER}],
    ),
    Case(
        "submissions",
        "submissions_respondent_id_fkey",
        values("respondent_id", BEN, None),
        [{"respondent_id": NOBODY}],
    ),
    Case(
        "submissions",
        "submissions_status_known",
        [
            {"status": "partial"},
            *({"status": s, "submitted_at": A_TIME} for s in ("submitted", "accepted", "rejected", "spam")),
        ],
        [{"status": "deleted", "submitted_at": A_TIME}],
    ),
    Case(
        "submissions",
        "submissions_submitted_has_time",
        [{"status": "partial"}, {"status": "submitted", "submitted_at": A_TIME}],
        [{"status": "partial", "submitted_at": A_TIME}, {"status": "submitted"}, {"status": "spam"}],
    ),
    Case("submissions", "submissions_data_object", values("data", *OBJECTS), values("data", *NO_OBJECTS)),
    Case(
        "submissions",
        "submissions_data_size",
        values("data", '{"a": "' + "x" * (1_048_576 - 9) + '"}'),
        values("data", '{"a": "' + "x" * (1_048_576 - 8) + '"}'),
    ),
    Case("submissions", "submissions_meta_object", values("meta", *OBJECTS), values("meta", *NO_OBJECTS)),
    Case("submissions", "submissions_revision_positive", values("revision", 1, 2), values("revision", 0)),
    # ── workflows ───────────────────────────────────────────────────────────────────────────────────────────
    Case("workflows", "workflows_pkey", [{"id": NOBODY}], [{"id": WORKFLOW}]),
    Case(
        "workflows",
        "workflows_organization_id_fkey",
        [{"organization_id": OTHER, "form_id": OTHER_FORM}],
        [{"organization_id": NOBODY, "form_id": None, "trigger_type": "manual"}],
    ),
    Case("workflows", "workflows_form_id_fkey", [{"form_id": FORM}], values("form_id", NOBODY, OTHER_FORM)),
    Case("workflows", "workflows_created_by_fkey", values("created_by", ANN, None), [{"created_by": NOBODY}]),
    Case("workflows", "workflows_name_length", values("name", *TITLES), values("name", *BAD_TITLES)),
    Case(
        "workflows",
        "workflows_name_key",
        [{"name": "thank you"}, {"name": "Thank you", "deleted_at": A_TIME}, {"name": "Old"}],
        [{"name": "Thank you"}],
        after={"name": "Old", "deleted_at": A_TIME},
    ),
    Case(
        "workflows",
        "workflows_status_known",
        values("status", "draft", "active", "paused", "archived"),
        values("status", "", "running"),
    ),
    Case(
        "workflows",
        "workflows_trigger_type_known",
        values("trigger_type", "submission", "schedule", "manual"),
        values("trigger_type", "", "cron"),
    ),
    Case(
        "workflows",
        "workflows_submission_has_form",
        [{"form_id": None, "trigger_type": "schedule"}, {"trigger_type": "submission"}],
        [{"form_id": None, "trigger_type": "submission"}],
    ),
    Case("workflows", "workflows_definition_valid", *keyed_list("steps")),
    Case("workflows", "workflows_version_positive", values("version", 1, 2), values("version", 0)),
    # ── workflow_runs ───────────────────────────────────────────────────────────────────────────────────────
    Case("workflow_runs", "workflow_runs_pkey", [{"id": NOBODY}], [{"id": RUN}]),
    Case(
        "workflow_runs",
        "workflow_runs_workflow_id_fkey",
        [{"workflow_id": WORKFLOW}],
        [{"workflow_id": NOBODY}, {"organization_id": OTHER}],
    ),
    Case(
        "workflow_runs",
        "workflow_runs_submission_id_fkey",
        values("submission_id", SUBMISSION, None),
        values("submission_id", NOBODY, OTHER_SUBMISSION),
    ),
    Case(
        "workflow_runs",
        "workflow_runs_idempotency_key_key",
        values("idempotency_key", "second", None),
        values("idempotency_key", "first"),
        after={"idempotency_key": None},
    ),
    Case(
        "workflow_runs",
        "workflow_runs_idempotency_key_length",
        values("idempotency_key", "k", "x" * 200),
        values("idempotency_key", "", LONG),
    ),
    Case(
        "workflow_runs",
        "workflow_runs_workflow_version_positive",
        values("workflow_version", 1, 9),
        values("workflow_version", 0),
    ),
    Case("workflow_runs", "workflow_runs_definition_valid", *keyed_list("steps")),
    Case(
        "workflow_runs",
        "workflow_runs_state_known",
        [
            {"state": "queued"},
            RUNNING,
            {"state": "waiting", "next_attempt_at": None},
            {"state": "completed", "finished_at": A_TIME},
            {"state": "failed", "finished_at": A_TIME, "error": "timeout"},
            {"state": "canceled", "finished_at": A_TIME},
        ],
        [{"state": "done"}, {"state": ""}],
    ),
    Case("workflow_runs", "workflow_runs_context_object", values("context", *OBJECTS), values("context", *NO_OBJECTS)),
    Case("workflow_runs", "workflow_runs_attempt_not_negative", values("attempt", 0, 3), values("attempt", -1)),
    Case(
        "workflow_runs",
        "workflow_runs_queued_has_time",
        [{"state": "queued"}, {"state": "waiting", "next_attempt_at": None}],
        [{"state": "queued", "next_attempt_at": None}],
    ),
    Case(
        "workflow_runs",
        "workflow_runs_running_has_lease",
        [RUNNING],
        [
            RUNNING | {"lease_owner": None},
            RUNNING | {"lease_until": None},
            RUNNING | {"lease_owner": None, "lease_until": None},
            {"state": "queued", "lease_owner": "worker-1", "lease_until": LATER},
            {"state": "queued", "lease_owner": "worker-1"},
        ],
    ),
    Case("workflow_runs", "workflow_runs_running_has_started", [RUNNING], [RUNNING | {"started_at": None}]),
    Case(
        "workflow_runs",
        "workflow_runs_finished_has_time",
        [{"state": "completed", "finished_at": A_TIME}],
        [{"state": "completed"}, {"state": "canceled"}, {"state": "queued", "finished_at": A_TIME}],
    ),
    Case(
        "workflow_runs",
        "workflow_runs_failed_has_error",
        [{"state": "failed", "finished_at": A_TIME, "error": "timeout"}, {"error": "first try failed"}],
        [{"state": "failed", "finished_at": A_TIME}],
    ),
    # ── workflow_run_steps ──────────────────────────────────────────────────────────────────────────────────
    Case(
        "workflow_run_steps",
        "workflow_run_steps_pkey",
        [{"attempt": 2}, {"seq": 2}],
        [{"attempt": 1}],
        after={"seq": 1, "attempt": 1},
    ),
    Case(
        "workflow_run_steps",
        "workflow_run_steps_run_id_fkey",
        [{"run_id": RUN}],
        [{"run_id": NOBODY}, {"organization_id": OTHER}],
    ),
    Case("workflow_run_steps", "workflow_run_steps_seq_positive", values("seq", 1, 99), values("seq", 0, -1)),
    Case("workflow_run_steps", "workflow_run_steps_attempt_positive", values("attempt", 1, 2), values("attempt", 0)),
    Case(
        "workflow_run_steps",
        "workflow_run_steps_step_key_format",
        values("step_key", "a", "a_1", "k" * 63),
        values("step_key", "", "A", "1a", "a-b", "k" * 64),
    ),
    Case(
        "workflow_run_steps",
        "workflow_run_steps_state_known",
        [
            {"state": "running"},
            {"state": "completed", "finished_at": A_TIME},
            {"state": "skipped", "finished_at": A_TIME},
            {"state": "failed", "finished_at": A_TIME, "error": "timeout"},
        ],
        [{"state": "queued", "finished_at": A_TIME}],
    ),
    Case(
        "workflow_run_steps",
        "workflow_run_steps_finished_has_time",
        [{"state": "completed", "finished_at": A_TIME}],
        [{"state": "completed"}, {"state": "running", "finished_at": A_TIME}],
    ),
    Case(
        "workflow_run_steps",
        "workflow_run_steps_failed_has_error",
        [{"state": "failed", "finished_at": A_TIME, "error": "timeout"}],
        [{"state": "failed", "finished_at": A_TIME}],
    ),
    # ── events ──────────────────────────────────────────────────────────────────────────────────────────────
    Case(
        "events",
        "events_pkey",
        [{"id": ACME, "occurred_at": LATER}, {"id": BEN, "occurred_at": A_TIME}],
        [{"id": ACME, "occurred_at": A_TIME}],
        after={"id": ACME, "occurred_at": A_TIME},
    ),
    Case("events", "events_organization_id_fkey", [{"organization_id": OTHER}], [{"organization_id": NOBODY}]),
    Case(
        "events",
        "events_type_format",
        values("type", "form.published", "workflow_run.timed_out"),
        values("type", "", "form", "form.", ".published", "Form.published", "a.b.c"),
    ),
    Case(
        "events",
        "events_actor_type_known",
        [{"actor_type": t, "actor_id": ANN} for t in ("user", "respondent", "workflow", "api_key", "system")],
        [{"actor_type": "robot", "actor_id": ANN}],
    ),
    Case(
        "events",
        "events_actor_has_id",
        [{"actor_type": "system"}, {"actor_type": "respondent"}, {"actor_type": "user", "actor_id": ANN}],
        values("actor_type", "user", "workflow", "api_key"),
    ),
    Case(
        "events",
        "events_subject_type_format",
        values("subject_type", "form", "workflow_run"),
        values("subject_type", "", "Form", "a.b"),
    ),
    Case("events", "events_payload_object", values("payload", *OBJECTS), values("payload", *NO_OBJECTS)),
    Case(
        "events",
        "events_request_id_length",
        values("request_id", None, "r", "x" * 200),
        values("request_id", "", LONG),
    ),
    # ── outbox ──────────────────────────────────────────────────────────────────────────────────────────────
    Case("outbox", "outbox_pkey", [{"id": BEN}], [{"id": ACME}], after={"id": ACME}),
    Case("outbox", "outbox_organization_id_fkey", [{"organization_id": OTHER}], [{"organization_id": NOBODY}]),
    Case(
        "outbox",
        "outbox_topic_format",
        values("topic", "webhook", "email.invitation", "a.b.c"),
        values("topic", "", "Email", "email.", "a b"),
    ),
    Case("outbox", "outbox_payload_object", values("payload", *OBJECTS), values("payload", *NO_OBJECTS)),
    Case("outbox", "outbox_attempts_not_negative", values("attempts", 0, 5), values("attempts", -1)),
    Case(
        "outbox",
        "outbox_lease_complete",
        [{}, {"lease_owner": "sender-1", "lease_until": LATER}],
        [{"lease_owner": "sender-1"}, {"lease_until": LATER}],
    ),
    Case(
        "outbox",
        "outbox_failed_has_error",
        [{"failed_at": A_TIME, "last_error": "410 Gone"}, {"last_error": "timeout"}],
        [{"failed_at": A_TIME}],
    ),
    # ── idempotency_keys ────────────────────────────────────────────────────────────────────────────────────
    Case(
        "idempotency_keys",
        "idempotency_keys_pkey",
        [{"key": "other"}, {"scope": "form.publish"}, {"organization_id": OTHER}],
        [{"key": "k"}],
        after={"key": "k"},
    ),
    Case(
        "idempotency_keys",
        "idempotency_keys_organization_id_fkey",
        [{"organization_id": OTHER}],
        [{"organization_id": NOBODY}],
    ),
    Case(
        "idempotency_keys",
        "idempotency_keys_scope_format",
        values("scope", "submission.create"),
        values("scope", "", "submission", "POST /submissions"),
    ),
    Case("idempotency_keys", "idempotency_keys_key_length", values("key", "k", "x" * 200), values("key", "", LONG)),
    Case(
        "idempotency_keys",
        "idempotency_keys_fingerprint_length",
        values("fingerprint", *DIGESTS),
        values("fingerprint", *NO_DIGESTS),
    ),
    Case(
        "idempotency_keys",
        "idempotency_keys_completed_has_response",
        [{}, {"completed_at": A_TIME, "response": "{}"}],
        [{"completed_at": A_TIME}, {"response": "{}"}],
    ),
    Case(
        "idempotency_keys",
        "idempotency_keys_expires_later",
        [{"created_at": A_TIME, "expires_at": LATER}],
        [{"created_at": LATER, "expires_at": A_TIME}, {"created_at": A_TIME, "expires_at": A_TIME}],
    ),
    # ── embeddings ──────────────────────────────────────────────────────────────────────────────────────────
    Case(
        "embeddings",
        "embeddings_pkey",
        [{"chunk": 1}, {"model": "other"}, {"subject_type": "submission"}, {"organization_id": OTHER}],
        [{"chunk": 0}],
        after={"chunk": 0},
    ),
    Case("embeddings", "embeddings_organization_id_fkey", [{"organization_id": OTHER}], [{"organization_id": NOBODY}]),
    Case(
        "embeddings",
        "embeddings_subject_type_format",
        values("subject_type", "form", "workflow_run"),
        values("subject_type", "", "Form"),
    ),
    Case("embeddings", "embeddings_model_length", values("model", "m", "x" * 100), values("model", "", "x" * 101)),
    Case("embeddings", "embeddings_chunk_not_negative", values("chunk", 0, 7), values("chunk", -1)),
    Case(
        "embeddings",
        "embeddings_content_sha256_length",
        values("content_sha256", *DIGESTS),
        values("content_sha256", *NO_DIGESTS),
    ),
]

# What may be left unknown; every other column is NOT NULL.
NULLABLE = {
    "organizations": {"deleted_at"},
    "users": {"email_verified_at", "deleted_at"},
    "memberships": {"invited_by"},
    "forms": {"published_version", "retention_days", "created_by", "deleted_at"},
    "form_versions": {"published_by"},
    "submissions": {"respondent_id", "submitted_at", "deleted_at"},
    "workflows": {"form_id", "created_by", "deleted_at"},
    "workflow_runs": {
        "submission_id",
        "next_attempt_at",
        "lease_owner",
        "lease_until",
        "idempotency_key",
        "error",
        "started_at",
        "finished_at",
    },
    "workflow_run_steps": {"input", "output", "error", "finished_at"},
    "events": {"actor_id", "request_id"},
    "outbox": {"lease_owner", "lease_until", "last_error", "failed_at"},
    "idempotency_keys": {"response", "completed_at"},
    "embeddings": set[str](),
}


def tables_of(conn: Connection) -> set[str]:
    """The tables of the schema, without partitions."""
    rows = conn.execute(
        "select relname from pg_class where relnamespace = 'pliers'::regnamespace and relkind in ('r', 'p')"
        " and not relispartition"
    )
    return {name for (name,) in rows}


def prepare(conn: Connection, case: Case) -> None:
    if case.after is not None:
        insert(conn, case.table, GOOD[case.table] | case.after)


# Debian's PostgreSQL 15 has no pgvector, so no embeddings.
BOTH = [
    pytest.param(major, case, id=f"{case.constraint}-{major}", marks=[pytest.mark.pg15] if major == "15" else [])
    for major in ("18", "15")
    for case in CASES
    if major == "18" or case.table != "embeddings"
]


@pytest.mark.parametrize(("pliers_both", "case"), BOTH, indirect=["pliers_both"])
def test_the_constraint_accepts(case: Case, rolled_back: Connection) -> None:
    prepare(rolled_back, case)
    for row in case.accepts:
        with rolled_back.transaction(force_rollback=True):
            insert(rolled_back, case.table, GOOD[case.table] | row)


@pytest.mark.parametrize(("pliers_both", "case"), BOTH, indirect=["pliers_both"])
def test_the_constraint_refuses(case: Case, rolled_back: Connection) -> None:
    prepare(rolled_back, case)
    for row in case.refuses:
        with pytest.raises(psycopg.IntegrityError) as caught, rolled_back.transaction():
            insert(rolled_back, case.table, GOOD[case.table] | row, check_now=True)
        # A partition's unique index has a name of its own: events_2026_11_pkey.
        name = (caught.value.diag.constraint_name or "").replace("_2026_11_", "_")
        assert name == case.constraint, f"{row}: {caught.value}"


def test_every_constraint_is_tried(pliers_both: Connection) -> None:
    found = {
        name
        for (name,) in pliers_both.execute(
            "select conname from pg_constraint join pg_class t on t.oid = conrelid"
            " where connamespace = 'pliers'::regnamespace and not relispartition and contype <> 'n'"
            " union"
            " select i.relname from pg_index join pg_class i on i.oid = indexrelid"
            " where i.relnamespace = 'pliers'::regnamespace and indisunique and not i.relispartition"
        )
    }
    tried = [case.constraint for case in CASES if case.table in tables_of(pliers_both)]
    assert sorted(tried) == sorted(found)
    assert all(case.accepts and case.refuses for case in CASES)


def test_only_the_columns_that_may_be_unknown_are_nullable(pliers_both: Connection) -> None:
    found: dict[str, set[str]] = {table: set() for table in tables_of(pliers_both)}
    for table, column in pliers_both.execute(
        "select relname, attname from pg_attribute join pg_class t on t.oid = attrelid"
        " where relnamespace = 'pliers'::regnamespace and relkind in ('r', 'p') and not relispartition"
        " and attnum > 0 and not attisdropped and not attnotnull"
    ):
        found[table].add(column)
    assert found == {table: NULLABLE[table] for table in found}
