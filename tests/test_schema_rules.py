"""What the Pliers schema promises beyond single rows: who may do what, what goes with what, who wins a race."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from pliers_db.config import Target
from pliers_db.db import Connection, connect
from tests.fix_pliers import ACME, ANN, BEN, DIGEST, FORM, RUN, SUBMISSION, WORKFLOW, WORLD, an_id, insert

ALL = {"SELECT", "INSERT", "UPDATE", "DELETE"}
# What the application may do. Immutable: form_versions and events. Erasing a tenant or a person is the owner's work.
GRANTS = {
    "organizations": {"SELECT", "INSERT", "UPDATE"},
    "users": {"SELECT", "INSERT", "UPDATE"},
    "memberships": ALL,
    "forms": ALL,
    "form_versions": {"SELECT", "INSERT"},
    "submissions": ALL,
    "workflows": ALL,
    "workflow_runs": ALL,
    "workflow_run_steps": ALL,
    "events": {"SELECT", "INSERT"},
    "outbox": ALL,
    "idempotency_keys": ALL,
    "embeddings": ALL,
}


def one(conn: Connection, query: str, **values: Any) -> Any:
    row = conn.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


# ── privileges ──────────────────────────────────────────────────────────────────────────────────────────────
def test_the_application_may_do_what_the_table_is_for(pliers_both: Connection) -> None:
    found: dict[str, set[str]] = {}
    for table, privilege in pliers_both.execute(
        "select relname, p from pg_class, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',"
        " 'REFERENCES', 'TRIGGER']) as p where relnamespace = 'pliers'::regnamespace and relkind in ('r', 'p')"
        " and has_table_privilege('pliers_app', pg_class.oid, p)"
    ):
        found.setdefault(table, set()).add(privilege)
    assert found == {table: GRANTS[table] for table in GRANTS if table != "embeddings" or table in found}


def test_everybody_else_may_do_nothing(pliers_both: Connection) -> None:
    grants = pliers_both.execute(
        "select relname from pg_class, aclexplode(relacl) where relnamespace = 'pliers'::regnamespace and grantee = 0"
        " union all select 'schema' from pg_namespace, aclexplode(nspacl) where nspname = 'pliers' and grantee = 0"
    ).fetchall()
    assert grants == []


@pytest.mark.parametrize(
    "statement",
    [
        "update pliers.form_versions set definition = '{\"fields\": []}'",
        "delete from pliers.form_versions",
        "truncate pliers.form_versions",
        "update pliers.events set payload = '{}'",
        "delete from pliers.events",
        "truncate pliers.events",
        "delete from pliers.events_2026_11",
        "insert into pliers.events_2026_11 select * from pliers.events",
        "drop table pliers.outbox",
        "alter table pliers.forms disable trigger all",
        "create table pliers.mine (id int)",
    ],
)
def test_the_application_cannot_change_history(statement: str, rolled_back: Connection) -> None:
    rolled_back.execute("set local role pliers_app")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rolled_back.execute(statement.encode())


def test_the_application_can_publish_submit_and_journal(rolled_back: Connection) -> None:
    rolled_back.execute("set local role pliers_app")
    version = {
        "organization_id": ACME,
        "form_id": FORM,
        "version": 2,
        "definition": '{"fields": []}',
        "definition_sha256": DIGEST,
    }
    event = {
        "organization_id": ACME,
        "type": "form.published",
        "actor_type": "user",
        "actor_id": ANN,
        "subject_type": "form",
        "subject_id": FORM,
        "occurred_at": "2026-11-22 12:00+00",
    }
    insert(rolled_back, "form_versions", version)
    rolled_back.execute(
        "update pliers.forms set status = 'published', published_version = 2, revision = revision + 1"
        " where organization_id = %s and id = %s and revision = 1",
        [ACME, FORM],
    )
    insert(rolled_back, "submissions", {"organization_id": ACME, "form_id": FORM, "form_version": 2})
    insert(rolled_back, "events", event)
    rolled_back.execute("set constraints all immediate")
    assert one(rolled_back, "select count(*) from pliers.events") == 1


# ── what goes with what ─────────────────────────────────────────────────────────────────────────────────────
def test_a_user_who_goes_leaves_their_work(rolled_back: Connection) -> None:
    rolled_back.execute("update pliers.form_versions set published_by = %s", [ANN])
    rolled_back.execute("update pliers.submissions set respondent_id = %s", [ANN])
    rolled_back.execute("update pliers.workflows set created_by = %s", [ANN])
    insert(rolled_back, "memberships", {"organization_id": ACME, "user_id": BEN, "invited_by": ANN})
    rolled_back.execute("delete from pliers.users where id = %s", [ANN])
    for table, column in (
        ("forms", "created_by"),
        ("form_versions", "published_by"),
        ("submissions", "respondent_id"),
        ("workflows", "created_by"),
        ("memberships", "invited_by"),
    ):
        assert one(rolled_back, f"select count(*) from pliers.{table}") > 0
        assert one(rolled_back, f"select count({column}) from pliers.{table}") == 0
    assert one(rolled_back, "select array_agg(user_id::text) from pliers.memberships") == [BEN]


def test_steps_go_with_their_run(rolled_back: Connection) -> None:
    step = {"organization_id": ACME, "run_id": RUN, "seq": 1, "attempt": 1, "step_key": "a", "step_type": "email"}
    insert(rolled_back, "workflow_run_steps", step)
    rolled_back.execute("delete from pliers.workflow_runs where id = %s", [RUN])
    assert one(rolled_back, "select count(*) from pliers.workflow_run_steps") == 0


@pytest.mark.parametrize(
    ("table", "key", "constraint"),
    [
        ("organizations", ACME, "memberships_organization_id_fkey"),
        ("forms", FORM, "form_versions_form_id_fkey"),
        ("submissions", SUBMISSION, "workflow_runs_submission_id_fkey"),
        ("workflows", WORKFLOW, "workflow_runs_workflow_id_fkey"),
    ],
)
def test_nothing_else_is_deleted_by_cascade(table: str, key: str, constraint: str, rolled_back: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        rolled_back.execute(f"delete from pliers.{table} where id = %s".encode(), [key])
    assert caught.value.diag.constraint_name == constraint


def test_a_published_version_with_submissions_stays(rolled_back: Connection) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        rolled_back.execute("delete from pliers.form_versions")
    assert caught.value.diag.constraint_name == "submissions_form_version_fkey"


def test_a_tenant_can_be_erased_from_the_leaves_up(rolled_back: Connection) -> None:
    for table in ("workflow_runs", "workflows", "submissions", "form_versions", "forms", "memberships"):
        rolled_back.execute(f"delete from pliers.{table} where organization_id = %s".encode(), [ACME])
    rolled_back.execute("delete from pliers.organizations where id = %s", [ACME])
    rolled_back.execute("set constraints all immediate")
    assert one(rolled_back, "select count(*) from pliers.submissions") == 1  # the other tenant's


def test_a_form_and_its_first_version_may_come_in_any_order_but_not_apart(pliers: Target) -> None:
    form = {"organization_id": ACME, "id": an_id(70), "slug": "x", "title": "X", "published_version": 1}
    version = {
        "organization_id": ACME,
        "form_id": an_id(70),
        "version": 1,
        "definition": '{"fields": []}',
        "definition_sha256": DIGEST,
    }
    with connect(pliers) as conn:
        insert(conn, "organizations", {"id": ACME, "slug": "acme", "name": "Acme"})
        with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught, conn.transaction():
            insert(conn, "forms", form)
        assert caught.value.diag.constraint_name == "forms_published_version_fkey"
        with conn.transaction():
            insert(conn, "forms", form)
            insert(conn, "form_versions", version)
        assert one(conn, "select published_version from pliers.forms") == 1


# ── races ───────────────────────────────────────────────────────────────────────────────────────────────────
CLAIM = """
    update pliers.workflow_runs
    set state = 'running', lease_owner = %(worker)s, lease_until = now() + %(lease)s::interval,
        attempt = attempt + 1, started_at = coalesce(started_at, now())
    where organization_id = %(organization)s and id = %(run)s
        and (state in ('queued', 'waiting') and next_attempt_at <= now() or state = 'running' and lease_until < now())
    returning lease_owner
"""


def claim(conn: Connection, worker: str, lease: str = "1 hour") -> bool:
    values = {"worker": worker, "lease": lease, "organization": ACME, "run": RUN}
    return conn.execute(CLAIM, values).fetchone() is not None


def test_of_two_workers_one_gets_the_run(pliers: Target) -> None:
    with connect(pliers) as first, connect(pliers) as second:
        with first.transaction():
            for table, row in WORLD:
                insert(first, table, row)
        assert claim(first, "first")
        assert not claim(second, "second")
        assert one(second, "select lease_owner || attempt from pliers.workflow_runs") == "first1"


def test_a_run_whose_worker_went_silent_can_be_taken_over(pliers: Target) -> None:
    with connect(pliers) as conn:
        with conn.transaction():
            for table, row in WORLD:
                insert(conn, table, row)
        assert claim(conn, "first", lease="-1 second")
        assert claim(conn, "second")
        assert one(conn, "select lease_owner || attempt from pliers.workflow_runs") == "second2"


def test_a_run_that_waits_goes_on_when_it_is_due(pliers: Target) -> None:
    with connect(pliers) as conn:
        with conn.transaction():
            for table, row in WORLD:
                insert(conn, table, row)
        conn.execute("update pliers.workflow_runs set state = 'waiting', next_attempt_at = now() + interval '1 hour'")
        assert not claim(conn, "first")
        conn.execute("update pliers.workflow_runs set next_attempt_at = null")  # for somebody's answer
        assert not claim(conn, "first")
        conn.execute("update pliers.workflow_runs set next_attempt_at = now()")
        assert claim(conn, "first")


def test_the_same_request_acts_once(pliers: Target) -> None:
    request = (
        "insert into pliers.idempotency_keys (organization_id, scope, key, fingerprint)"
        " values (%s, 'submission.create', 'k', %s) on conflict do nothing returning key"
    )
    with connect(pliers) as conn:
        insert(conn, "organizations", {"id": ACME, "slug": "acme", "name": "Acme"})
        assert conn.execute(request, [ACME, DIGEST]).fetchone() == ("k",)
        assert conn.execute(request, [ACME, DIGEST]).fetchone() is None


def test_two_windows_cannot_overwrite_each_other(rolled_back: Connection) -> None:
    save = "update pliers.submissions set data = %s, revision = revision + 1 where id = %s and revision = %s"
    assert rolled_back.execute(save, ['{"a": 1}', SUBMISSION, 1]).rowcount == 1
    assert rolled_back.execute(save, ['{"a": 2}', SUBMISSION, 1]).rowcount == 0


# ── finding things ──────────────────────────────────────────────────────────────────────────────────────────
QUESTIONS = {
    "submissions_list_idx": """
        select * from pliers.submissions
        where organization_id = %(organization)s and form_id = %(form)s and deleted_at is null
        order by id desc limit 20
    """,
    "forms_recent_idx": """
        select * from pliers.forms where organization_id = %(organization)s and deleted_at is null
        order by updated_at desc limit 20
    """,
    "workflow_runs_due_idx": """
        select * from pliers.workflow_runs where state in ('queued', 'waiting') and next_attempt_at <= now()
        order by next_attempt_at limit 10
    """,
    "workflow_runs_lease_idx": "select * from pliers.workflow_runs where state = 'running' and lease_until < now()",
    "outbox_available_idx": """
        select * from pliers.outbox where failed_at is null and available_at <= now() order by available_at limit 10
    """,
    "events_2026_11_organization_id_subject_type_subject_id_occu_idx": """
        select * from pliers.events
        where organization_id = %(organization)s and subject_type = 'form' and subject_id = %(form)s
            and occurred_at >= '2026-11-01 00:00+00' and occurred_at < '2026-12-01 00:00+00'
        order by occurred_at desc
    """,
    "idempotency_keys_expires_at_idx": "delete from pliers.idempotency_keys where expires_at < now()",
}


def plan_of(conn: Connection, query: str) -> str:
    lines = conn.execute(f"explain {query}".encode(), {"organization": ACME, "form": FORM})
    return "\n".join(line for (line,) in lines)


@pytest.mark.parametrize("index", QUESTIONS)
def test_the_everyday_question_has_an_index(index: str, rolled_back: Connection) -> None:
    # On so few rows the planner needs no index; without these two it shows which one it would take.
    rolled_back.execute("set local enable_seqscan to off; set local enable_sort to off")
    assert index in plan_of(rolled_back, QUESTIONS[index])


def test_an_answer_is_found_without_reading_the_tenants_other_answers(rolled_back: Connection) -> None:
    rolled_back.execute(
        "insert into pliers.submissions (organization_id, form_id, form_version, data)"
        " select %s, %s, 1, jsonb_build_object('city', 'c' || n) from generate_series(1, 3000) as n",
        [ACME, FORM],
    )
    rolled_back.execute("select gin_clean_pending_list('pliers.submissions_data_idx'); analyze pliers.submissions")
    by_answer = (
        'select * from pliers.submissions where organization_id = %(organization)s and data @> \'{"city": "c7"}\''
    )
    assert "submissions_data_idx" in plan_of(rolled_back, by_answer)


def test_a_form_is_found_by_a_word_without_reading_the_others(rolled_back: Connection) -> None:
    rolled_back.execute(
        "insert into pliers.forms (organization_id, slug, title)"
        " select %s, 'f-' || n, 'Survey ' || n from generate_series(1, 3000) as n",
        [ACME],
    )
    rolled_back.execute("select gin_clean_pending_list('pliers.forms_search_idx'); analyze pliers.forms")
    by_word = (
        "select * from pliers.forms where organization_id = %(organization)s and deleted_at is null"
        " and search @@ to_tsquery('simple', '77')"
    )
    assert "forms_search_idx" in plan_of(rolled_back, by_word)


def test_every_foreign_key_is_found_by_an_index(pliers_both: Connection) -> None:
    """Without one, deleting a user reads every table that names them."""
    missing = pliers_both.execute(
        "select conname from pg_constraint k join pg_class t on t.oid = conrelid"
        " where relnamespace = 'pliers'::regnamespace and contype = 'f' and not relispartition"
        " and not exists (select from pg_index where indrelid = conrelid and indkey[0] = conkey[1])"
    ).fetchall()
    assert missing == []


def test_search_finds_words_of_title_and_description(rolled_back: Connection) -> None:
    rolled_back.execute("update pliers.forms set description = 'Write to us' where id = %s", [FORM])
    found = "select count(*) from pliers.forms where search @@ plainto_tsquery('simple', %(words)s)"
    assert one(rolled_back, found, words="contact write") == 1
    assert one(rolled_back, found, words="survey") == 0
