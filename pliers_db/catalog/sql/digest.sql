-- name: named
-- Which tables do these names mean? Null where there is none.
select name, to_regclass(name)::oid
from unnest(%(names)s::text[]) with ordinality as asked (name, place)
order by place

-- name: all
-- Which tables hold rows of their own? A partitioned table stands for its partitions.
select format('%I.%I', n.nspname, c.relname), c.oid
from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p')
    and not c.relispartition
    and c.relpersistence <> 't'
    and n.nspname not like 'pg\_%'
    and n.nspname <> 'information_schema'
    and not exists (
        select from pg_depend where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e'
    )
order by n.nspname, c.relname

-- name: readable
-- What are these tables, and what keeps this role from reading all of each?
select c.oid, n.nspname, c.relname, c.relkind,
    case
        when not has_schema_privilege(n.oid, 'usage') then 'The role may not use schema ' || n.nspname || '.'
        when not has_table_privilege(c.oid, 'select') then 'The role has no SELECT on the table.'
        when row_security_active(c.oid) then 'Row-level security would hide rows from the role.'
    end
from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
where c.oid = any (%(oids)s) and c.relkind in ('r', 'p', 'm', 'f', 'v')
