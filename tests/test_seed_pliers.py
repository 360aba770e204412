"""The seeds of the Pliers database: whole, conforming, harmless."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pliers_db.config import Environment, Target, load_settings
from pliers_db.db import Connection, Database, connect, write_stamp
from pliers_db.postgres import Server
from pliers_db.seed import Outcome, run
from tests.fix_cli import url_of
from tests.fix_pliers import clone
from tests.fix_seed import digest, versions

ROOT = Path(__file__).parent.parent

# What the answers of a form may be, told by the database itself: independent of the code that made them.
NONCONFORMING = """
with answers as (
    select s.id, s.status, s.data, f.value as field, s.data -> (f.value ->> 'key') as answer
    from pliers.submissions s
    join pliers.form_versions v using (organization_id, form_id)
    cross join lateral jsonb_array_elements(v.definition -> 'fields') f
    where v.version = s.form_version
), judged as (
    select *, field ->> 'type' as type, answer #>> '{}' as text, jsonb_typeof(answer) as kind,
           array(select o ->> 'value' from jsonb_array_elements(field -> 'options') o) as options
    from answers
)
select id, field ->> 'key', type, answer, 'missing' from judged
where answer is null and (field -> 'required')::bool and status not in ('partial')
union all
select id, field ->> 'key', type, answer, 'wrong' from judged
where answer is not null and not coalesce(case
    when type in ('text', 'long_text', 'name') then kind = 'string' and text <> ''
        and length(text) <= coalesce((field ->> 'max_length')::int, 10000)
    when type = 'email' then kind = 'string' and text ~ '^[a-z0-9.+-]+@[a-z0-9.-]+$'
    when type = 'phone' then kind = 'string' and text ~ '^\\+1 \\d{3} 555 01\\d\\d$'
    when type = 'url' then kind = 'string' and text ~ '^https://'
    when type = 'number' then kind = 'number' and text::numeric
        between (field ->> 'min')::numeric and (field ->> 'max')::numeric
    when type = 'scale' then kind = 'number' and text::int
        between coalesce((field ->> 'min')::int, 0) and coalesce((field ->> 'max')::int, 10)
    when type = 'rating' then kind = 'number' and text::int between 1 and (field ->> 'max')::int
    when type = 'yes_no' then kind = 'boolean'
    when type = 'select' then kind = 'string' and text = any(options)
    when type = 'multi_select' then kind = 'array' and jsonb_array_length(answer) > 0
        and array(select jsonb_array_elements_text(answer)) <@ options
    when type = 'date' then kind = 'string' and text::date::text = text
    when type = 'time' then kind = 'string' and text ~ '^\\d\\d:\\d\\d$' and text::time is not null
    when type = 'consent' then answer = 'true'
    when type = 'file' then kind = 'object' and answer ?& array['name', 'type', 'bytes']
end, false)
union all
select s.id, k, null, s.data -> k, 'unknown' from pliers.submissions s, jsonb_object_keys(s.data) k
where not exists (select from answers a where a.id = s.id and a.field ->> 'key' = k)
"""


def seed(target: Target, env: str) -> Outcome:
    settings = load_settings(env=env, database_url=url_of(target), start=ROOT, environ={})
    with Database(target) as database:
        return run(database, settings)


@pytest.fixture(scope="module")
def dev(server: Server, pliers_template: str) -> Iterator[Connection]:
    """The development seeds, loaded once for the tests that only look."""
    with clone(server, pliers_template) as target, connect(target) as conn:
        write_stamp(conn, Environment.DEVELOPMENT)
        seed(target, "dev")
        yield conn


def one(conn: Connection, query: str) -> object:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("env", ["dev", "test"])
def test_a_second_run_changes_nothing(env: str, pliers: Target) -> None:
    with connect(pliers) as conn:
        write_stamp(conn, Environment.DEVELOPMENT if env == "dev" else Environment.TEST)
        first = seed(pliers, env)
        assert first.added == first.planned
        before = versions(conn)
        second = seed(pliers, env)
        assert (second.added, second.changed, second.kept, second.written) == (0, 0, 0, False)
        assert versions(conn) == before


def test_every_table_has_rows_and_all_stays_small(dev: Connection) -> None:
    tables = [
        name
        for (name,) in dev.execute("select tablename from pg_tables where schemaname = 'pliers'")
        if name[:7] != "events_"
    ]
    counts = {name: one(dev, f"select count(*) from pliers.{name}") for name in tables if name != "events_default"}
    assert all(counts.values()), counts
    assert 300 < sum(int(str(count)) for count in counts.values()) < 1000
    assert one(dev, "select count(*) from pliers.events_default") == 0


def test_every_submission_conforms_to_its_forms_definition(dev: Connection) -> None:
    assert dev.execute(NONCONFORMING.encode()).fetchall() == []


def test_the_conformity_query_finds_what_does_not_conform(dev: Connection) -> None:
    """The guard of the guard: each kind of fault, planted."""
    with dev.transaction(force_rollback=True):
        sent = "form_id = (select id from pliers.forms where slug = 'reader-survey-2026') and status = 'submitted'"
        for change in (
            "data - 'staff'",
            "data || '{\"staff\": 6}'",
            'data || \'{"uses": ["sleep"]}\'',
            "data || '{\"nothing\": 1}'",
            'data || \'{"card": "yes"}\'',
        ):
            spoilt = f"select from ({NONCONFORMING}) n where n.id = s.id"
            unspoilt = f"select min(id::text)::uuid from pliers.submissions s where {sent} and not exists ({spoilt})"
            dev.execute(f"update pliers.submissions set data = {change} where id = ({unspoilt})".encode())
        assert len(dev.execute(NONCONFORMING.encode()).fetchall()) == 5


def test_every_type_of_field_every_status_and_every_state_is_there(dev: Connection) -> None:
    fields = "pliers.form_versions, jsonb_array_elements(definition -> 'fields') as f"
    types = {kind for (kind,) in dev.execute(f"select distinct f ->> 'type' from {fields}".encode())}
    assert types == {
        *("text", "long_text", "name", "email", "phone", "url", "number", "rating", "scale", "yes_no"),
        *("select", "multi_select", "date", "time", "consent", "file", "section"),
    }
    for table, column in (
        *(("forms", "status"), ("submissions", "status"), ("workflows", "status"), ("workflow_runs", "state")),
        *(("workflow_run_steps", "state"), ("memberships", "role"), ("memberships", "status")),
    ):
        check = str(
            one(
                dev,
                "select pg_get_constraintdef(oid) from pg_constraint where contype = 'c'"
                f" and conrelid = 'pliers.{table}'::regclass and conname = '{table}_{column}_known'",
            )
        )
        allowed = set(re.findall(r"'(\w+)'::text", check))
        found = {value for (value,) in dev.execute(f"select distinct {column} from pliers.{table}".encode())}
        assert found == allowed, f"{table}.{column}"


def test_nothing_happens_before_its_cause_or_after_the_present(dev: Connection) -> None:
    for query in (
        "select count(*) from pliers.submissions where submitted_at < created_at",
        "select count(*) from pliers.submissions where submitted_at > '2026-11-16 09:00+00'",
        "select count(*) from pliers.submissions s join pliers.form_versions v using (organization_id, form_id)"
        " where v.version = s.form_version and s.created_at < v.published_at",
        "select count(*) from pliers.workflow_runs r join pliers.submissions s on s.id = r.submission_id"
        " where r.created_at < s.submitted_at",
        "select count(*) from pliers.workflow_runs where started_at < created_at or finished_at < started_at",
        "select count(*) from pliers.workflow_run_steps t join pliers.workflow_runs r on r.id = t.run_id"
        " where t.started_at < r.started_at or t.finished_at < t.started_at",
        "select count(*) from pliers.forms f join pliers.users u on u.id = f.created_by"
        " where f.created_at < u.created_at",
        "select count(*) from pliers.events where occurred_at > '2026-11-16 09:00+00'",
    ):
        assert one(dev, query) == 0, query


def test_the_order_of_submission_ids_is_the_order_of_arrival(dev: Connection) -> None:
    by_id = dev.execute("select id from pliers.submissions order by id").fetchall()
    by_time = dev.execute("select id from pliers.submissions order by created_at, id").fetchall()
    # The id carries milliseconds.
    assert by_id == by_time


def test_no_row_of_one_organization_points_into_another(dev: Connection) -> None:
    assert (
        one(
            dev,
            "select count(*) from pliers.embeddings e left join pliers.submissions s on s.id = e.subject_id"
            " left join pliers.forms f on f.id = e.subject_id"
            " where e.organization_id is distinct from coalesce(s.organization_id, f.organization_id)",
        )
        == 0
    )
    assert (
        one(
            dev,
            "select count(*) from pliers.events e join pliers.submissions s on s.id = e.subject_id"
            " where e.organization_id <> s.organization_id",
        )
        == 0
    )


def test_people_answer_and_act_only_where_they_are_members(dev: Connection) -> None:
    for table, column in (("forms", "created_by"), ("workflows", "created_by"), ("submissions", "respondent_id")):
        query = (
            f"select count(*) from pliers.{table} t where {column} is not null and not exists (select from"
            f" pliers.memberships m where m.organization_id = t.organization_id and m.user_id = t.{column})"
        )
        assert one(dev, query) == 0, table


def test_the_digest_of_a_version_is_that_of_its_canonical_form(dev: Connection) -> None:
    import hashlib
    import json

    for definition, found in dev.execute("select definition, definition_sha256 from pliers.form_versions"):
        text = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert hashlib.sha256(text.encode()).digest() == found


def test_neighbours_in_meaning_are_of_the_same_subject(dev: Connection) -> None:
    """A message's nearest neighbour among the messages should be about the same topic far oftener than by chance."""
    rows = dev.execute(
        """
        with m as (
            select s.id, s.data ->> 'topic' as topic, e.embedding
            from pliers.submissions s join pliers.embeddings e on e.subject_id = s.id
            where s.data ? 'topic' and s.status <> 'spam'
        )
        select a.topic = (
            select b.topic from m b where b.id <> a.id order by a.embedding <=> b.embedding limit 1
        ) from m a
        """
    ).fetchall()
    assert len(rows) == 24
    assert sum(same for (same,) in rows) >= 16  # by chance: 5 of 24


def test_every_address_in_every_column_is_reserved(dev: Connection) -> None:
    """RFC 2606 and 6761 domains, 555-01xx telephones, RFC 5737 networks: nobody is written to or called."""
    for table in digest(dev):
        for (text,) in dev.execute(f"select t::text from {table} t where '{table}' !~ 'embeddings'"):
            for domain in re.findall(r"(?:@|https?://)([\w-]+(?:\.[\w-]+)+)", text):
                assert re.search(r"(^|\.)(example\.(com|org|net)|example|test|invalid)$", domain), (table, domain)
            for phone in re.findall(r"\+\d[\d ]{6,}", text):
                assert re.fullmatch(r"\+1 \d{3} 555 01\d\d", phone.strip()), (table, phone)
            assert not re.search(r"\b(?!192\.0\.2|198\.51\.100|203\.0\.113)\d{1,3}(\.\d{1,3}){3}\b", text), (
                table,
                text,
            )


def test_no_secret_is_seeded(dev: Connection) -> None:
    columns = dev.execute(
        "select table_name, column_name from information_schema.columns where table_schema = 'pliers'"
        " and column_name ~ 'password|secret|token|api_key'"
    ).fetchall()
    assert columns == []  # if one comes, its seeds must be a public, precomputed hash: extend this test


def test_two_databases_and_two_processes_agree_on_every_row(
    server: Server, pliers_template: str, dev: Connection, tmp_path: Path
) -> None:
    import os
    import subprocess
    import sys

    with clone(server, pliers_template) as target, connect(target) as conn:
        write_stamp(conn, Environment.DEVELOPMENT)
        env = {
            **os.environ,
            "PYTHONHASHSEED": "4711",
            "TZ": "Asia/Tokyo",
            "LC_ALL": "C",
            "DATABASE_URL": url_of(target),
        }
        done = subprocess.run(
            [sys.executable, "-m", "pliers_db", "seed", "--env", "dev"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert digest(conn) == digest(dev)
