-- name: columns
-- Every column of every table that can be seeded, with what its type really is below domains.
with recursive base as (
    select t.oid as outer_oid, t.oid, t.typname, t.typtype, t.typcategory, t.typelem, t.typbasetype, t.typnotnull
    from pg_type as t
    union all
    select b.outer_oid, t.oid, t.typname, t.typtype, t.typcategory, t.typelem, t.typbasetype,
           b.typnotnull or t.typnotnull
    from base as b
    join pg_type as t on t.oid = b.typbasetype
    where b.typtype = 'd'
)
select n.nspname as schema,
       c.relname as table,
       pg_table_is_visible(c.oid) as visible,
       has_table_privilege(c.oid, 'select') as can_select,
       has_table_privilege(c.oid, 'insert') as can_insert,
       a.attname as name,
       format_type(a.atttypid, a.atttypmod) as type,
       b.typname as base,
       b.typtype as kind,
       b.typcategory as category,
       e.typname as element,
       case when b.typname in ('vector', 'halfvec') and a.atttypmod > 0 then a.atttypmod end as dimensions,
       a.attnotnull or b.typnotnull as not_null,
       a.attidentity as identity,
       a.attgenerated <> '' as generated,
       coalesce(pg_get_expr(d.adbin, d.adrelid), (
           select pg_get_expr(o.typdefaultbin, 0) from pg_type as o where o.oid = a.atttypid
       )) as default_expression,
       -- A default that is not the same each time (now(), random(), nextval()) would make each load another one.
       coalesce(
           d.adbin::text ~ '\{(SQLVALUEFUNCTION|NEXTVALUEEXPR)'
           or exists (
               select from regexp_matches(d.adbin::text, ':(?:opfuncid|funcid) (\d+)', 'g') as f
               join pg_proc as p on p.oid = f[1]::oid
               where p.provolatile <> 'i'
           ), false) as default_varies,
       pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname) as sequence
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
join pg_namespace as n on n.oid = c.relnamespace
join base as b on b.outer_oid = a.atttypid and b.typtype <> 'd'
left join pg_type as e on e.oid = b.typelem and b.typcategory = 'A'
left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where c.relkind in ('r', 'p')
  and not c.relispartition
  and c.relpersistence <> 't'
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and a.attnum > 0
  and not a.attisdropped
order by n.nspname, c.relname, a.attnum

-- name: keys
-- Primary keys and foreign keys, their columns in the order of the constraint.
select n.nspname as schema,
       c.relname as table,
       k.conname as name,
       k.contype as kind,
       k.condeferrable as deferrable,
       array(select a.attname from unnest(k.conkey) with ordinality as u (num, place)
             join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = u.num order by u.place) as columns,
       fn.nspname as target_schema,
       f.relname as target_table,
       array(select a.attname from unnest(k.confkey) with ordinality as u (num, place)
             join pg_attribute as a on a.attrelid = k.confrelid and a.attnum = u.num order by u.place) as target_columns
from pg_constraint as k
join pg_class as c on c.oid = k.conrelid
join pg_namespace as n on n.oid = c.relnamespace
left join pg_class as f on f.oid = k.confrelid
left join pg_namespace as fn on fn.oid = f.relnamespace
where k.contype in ('p', 'f')
  and k.conparentid = 0
  and not c.relispartition
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by n.nspname, c.relname, k.contype desc, k.conname
