"""The Pliers schema can be spread over machines by organization without changing a key.

Each rule is a query that returns what breaks it: nothing in the Pliers schema, and what is planted for it.
(Reasons: docs/schema.md, "Why the keys are as they are".)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from pliers_db.db import Connection
from tests.fix_pliers import migration_files

# Small, global, copied to every node. All other tables belong to tenants.
REFERENCE = ["organizations", "users"]

TABLES = """
    with tables as (
        select c.*, relname <> all(%(reference)s) as tenant from pg_class c
        where relnamespace = 'pliers'::regnamespace and relkind in ('r', 'p') and not relispartition
    ), columns as (
        select a.*, relname, tenant from pg_attribute a join tables t on t.oid = attrelid
        where attnum > 0 and not attisdropped
    ), keys as (
        select i.*, x.relname as name, t.relname, tenant,
            (select attname from pg_attribute where attrelid = indrelid and attnum = indkey[0]) as first
        from pg_index i join tables t on t.oid = indrelid join pg_class x on x.oid = indexrelid
    ), foreign_keys as (
        select k.*, t.relname, t.tenant, p.tenant as to_tenant,
            (select attname from pg_attribute where attrelid = conrelid and attnum = conkey[1]) as first,
            (select attname from pg_attribute where attrelid = confrelid and attnum = confkey[1]) as to_first,
            exists (select from pg_attribute where attrelid = conrelid and attnum = any(conkey)
                and attname = 'organization_id') as has_tenant
        from pg_constraint k join tables t on t.oid = conrelid join tables p on p.oid = confrelid where contype = 'f'
    )
"""


@dataclass(frozen=True)
class Rule:
    """``broken_by`` returns the names that break it; ``planted`` is DDL that makes it return ``found``."""

    promise: str
    broken_by: str
    planted: str
    found: str = "bad"


RULES = [
    Rule(
        "a tenant table begins with organization_id uuid not null",
        """
        select relname from tables t
        where tenant and not exists (
            select from columns where attrelid = t.oid and attnum = 1 and attname = 'organization_id'
                and atttypid = 'uuid'::regtype and attnotnull
        )
        """,
        "create table pliers.bad (id uuid primary key, organization_id uuid not null)",
    ),
    Rule(
        "a tenant table has a primary key that begins with organization_id",
        """
        select relname from tables t
        where tenant
            and not exists (select from keys where indrelid = t.oid and indisprimary and first = 'organization_id')
        """,
        "create table pliers.bad (organization_id uuid not null, id uuid primary key)",
    ),
    Rule(
        "a unique key or exclusion begins with organization_id",
        """
        select name from keys
        where tenant and (indisunique or indisexclusion) and first is distinct from 'organization_id'
        """,
        "create unique index bad on pliers.forms (slug)",
    ),
    Rule(
        "a foreign key between tenant tables begins with organization_id on both sides",
        """
        select conname from foreign_keys
        where tenant and to_tenant and (first <> 'organization_id' or to_first <> 'organization_id')
        """,
        """
        alter table pliers.workflows add constraint bad
            foreign key (form_id, organization_id) references pliers.forms (id, organization_id)
        """,
    ),
    Rule(
        "a foreign key with organization_id never sets null or default",
        """
        select conname from foreign_keys
        where has_tenant and (confdeltype in ('n', 'd') or confupdtype in ('n', 'd'))
        """,
        """
        alter table pliers.workflows add constraint bad
            foreign key (organization_id, form_id) references pliers.forms (organization_id, id)
            on delete set null (form_id)
        """,
    ),
    Rule(
        "a global table refers to no tenant table",
        "select conname from foreign_keys where not tenant and to_tenant",
        """
        alter table pliers.users add organization_id uuid, add form uuid;
        alter table pliers.users add constraint bad
            foreign key (organization_id, form) references pliers.forms (organization_id, id)
        """,
    ),
    Rule(
        "there are no sequences",
        "select relname from pg_class where relnamespace = 'pliers'::regnamespace and relkind = 'S'",
        "alter table pliers.forms add bad bigserial",
        "forms_bad_seq",
    ),
    Rule(
        "no column counts by identity",
        "select relname || '.' || attname from columns where attidentity <> ''",
        "alter table pliers.forms add bad bigint generated always as identity",
        "forms.bad",
    ),
    Rule(
        "there are no triggers",
        "select tgname from pg_trigger join tables t on t.oid = tgrelid where not tgisinternal",
        """
        create trigger bad before update on pliers.forms
            for each row execute function suppress_redundant_updates_trigger()
        """,
    ),
    Rule(
        "there are no rules",
        "select rulename from pg_rewrite join tables t on t.oid = ev_class",
        "create rule bad as on delete to pliers.forms do instead nothing",
    ),
    Rule(
        "nothing inherits",
        """
        select c.relname from pg_inherits join pg_class c on c.oid = inhrelid
        where relnamespace = 'pliers'::regnamespace and c.relkind = 'r' and not relispartition
        """,
        "create table pliers.bad () inherits (pliers.forms)",
    ),
    Rule(
        "a partition is not partitioned again",
        "select relname from pg_class where relnamespace = 'pliers'::regnamespace and relkind = 'p' and relispartition",
        """
        create table pliers.bad partition of pliers.events for values from ('2040-01-01') to ('2041-01-01')
            partition by hash (organization_id)
        """,
    ),
    Rule(
        "no table is partitioned by organization",
        """
        select relname from pg_partitioned_table p join tables t on t.oid = partrelid
        where exists (
            select from columns
            where attrelid = t.oid and attname = 'organization_id' and attnum = any (partattrs::smallint[])
        )
        """,
        """
        create table pliers.bad (organization_id uuid not null, id uuid, primary key (organization_id, id))
            partition by hash (organization_id)
        """,
    ),
    Rule(
        "no column has a statistics target of its own",
        "select relname || '.' || attname from columns where coalesce(attstattarget, -1) <> -1",
        "alter table pliers.forms alter title set statistics 500",
        "forms.title",
    ),
    Rule(
        "no column has a storage of its own",
        """
        select relname || '.' || attname from columns join pg_type y on y.oid = atttypid
        where attstorage <> typstorage
        """,
        "alter table pliers.forms alter title set storage external",
        "forms.title",
    ),
    Rule(
        "no table chooses a tablespace or is unlogged",
        "select relname from tables where reltablespace <> 0 or relpersistence <> 'p'",
        "create unlogged table pliers.bad (organization_id uuid not null primary key)",
    ),
    Rule(
        "a row of a tenant table can't exist without its organization",
        """
        select relname from tables t
        where tenant and not exists (
            with recursive up (relation) as (
                select t.oid
                union
                select confrelid from up join pg_constraint on conrelid = relation and contype = 'f'
                where not exists (
                    select from pg_attribute where attrelid = conrelid and attnum = any (conkey) and not attnotnull
                )
            )
            select from up where relation = 'pliers.organizations'::regclass
        )
        """,
        "create table pliers.bad (organization_id uuid not null primary key)",
    ),
]


def broken(conn: Connection, query: str) -> set[str]:
    return {name for (name,) in conn.execute((TABLES + query).encode(), {"reference": REFERENCE})}


def promise_of(rule: Rule) -> str:
    return rule.promise


@pytest.mark.parametrize("rule", RULES, ids=promise_of)
def test_the_rule_holds(rule: Rule, pliers_both: Connection) -> None:
    assert broken(pliers_both, rule.broken_by) == set()


@pytest.mark.parametrize("rule", RULES, ids=promise_of)
def test_the_rule_would_notice(rule: Rule, pliers_shared: Connection) -> None:
    with pliers_shared.transaction(force_rollback=True):
        # Gives the planted foreign keys something to refer to.
        pliers_shared.execute("alter table pliers.forms add constraint flipped unique (id, organization_id)")
        pliers_shared.execute(rule.planted.encode())
        assert rule.found in broken(pliers_shared, rule.broken_by)


def test_an_alter_table_adds_one_constraint() -> None:
    """Citus: cannot execute ADD CONSTRAINT command with other subcommands."""
    for file in migration_files():
        text = re.sub(r"--.*", "", file.read_text())
        for statement in re.findall(r"\balter\s+table\b[^;]*;", text, re.IGNORECASE):
            assert len(re.findall(r"\badd\s+constraint\b", statement, re.IGNORECASE)) <= 1, f"{file.name}: {statement}"
