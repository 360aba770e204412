-- name: read
-- What does the connected database say about itself, and which cluster does it stand on?
-- A few managed services keep pg_control_system() from ordinary roles; there the database's oid stands for it.
select
    d.datname,
    coalesce(shobj_description(d.oid, 'pg_database'), ''),
    has_function_privilege('pg_control_system()', 'execute'),
    'oid' || d.oid
from pg_database d
where d.datname = current_database()

-- name: system
-- Which cluster is this? Any role may ask, unless it was revoked.
select system_identifier::text from pg_control_system()

-- name: has_tables
-- Is there any table, of anybody, that does not belong to PostgreSQL or to an extension?
select exists (
    select
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm', 'f')
        and n.nspname not in ('pg_catalog', 'information_schema')
        and n.nspname not like 'pg\_toast%' and n.nspname not like 'pg\_temp\_%'
        and not exists (
            select from pg_depend e
            where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e'
        )
)
