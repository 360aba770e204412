-- name: no_primary_key
-- Tables without a primary key. Not partitions (their parent has it), not an extension's, not the records of migrations.
with seen as (
  select c.oid::regclass::text as name,
         not exists (select from pg_constraint k where k.conrelid = c.oid and k.contype = 'p') as suspect
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and c.relname !~ '^(_?yoyo_|_pliers_)'
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                    and d.deptype = 'e')
)
select t.examined, j.*
from (select count(*) as examined from seen) t
left join seen j on j.suspect
order by j.name

-- name: sequences
-- How much of its numbers each sequence has given out: of its own range, and of the type of the column that it feeds
-- (owned by it, or by a default). pg_sequences alone does not see a bigint sequence on an integer column.
with feeds as (
  -- identity and serial columns
  select d.objid as seqoid, a.atttypid from pg_depend d
  join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
    and d.refobjsubid > 0
  union
  -- defaults that call nextval
  select d.refobjid, a.atttypid from pg_depend d
  join pg_attrdef f on d.classid = 'pg_attrdef'::regclass and d.objid = f.oid
  join pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
  where d.refclassid = 'pg_class'::regclass
), seen as (
  select s.seqrelid, s.seqrelid::regclass::text as name, has_sequence_privilege(s.seqrelid, 'usage, select') as readable,
         least(s.seqmax, (select min(case f.atttypid when 'int2'::regtype then 32767
                                                     when 'int4'::regtype then 2147483647 end)
                          from feeds f where f.seqoid = s.seqrelid)) as maximum,
         s.seqincrement > 0 and not s.seqcycle as counts
  from pg_sequence s
  join pg_class c on c.oid = s.seqrelid
  where c.relpersistence <> 't'
), judged as (
  select name, readable, maximum::float8, counts,
         case when readable and counts then pg_sequence_last_value(seqrelid) end::float8 as last_value
  from seen
)
select count(*) over () as examined, count(*) filter (where not readable) over () as unreadable, j.*
from judged j
order by j.last_value / j.maximum desc nulls last
limit 100

-- name: not_valid
-- Constraints that hold for new rows only. Not those that are not meant to be enforced (18).
with seen as (
  select k.conname::text as constraint_name, k.conrelid::regclass::text as table_name,
         (select format('%I.%I', n.nspname, t.typname) from pg_type t join pg_namespace n on n.oid = t.typnamespace
          where t.oid = k.contypid) as domain_name,
         not k.convalidated and coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) as suspect
  from pg_constraint k
  join pg_namespace n on n.oid = k.connamespace
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and k.conparentid = 0
    and k.contype in ('c', 'f', 'n')
)
select t.examined, j.*
from (select count(*) as examined from seen) t
left join seen j on j.suspect
order by j.table_name, j.constraint_name

-- name: disabled_triggers
-- Triggers that are switched off; those of a constraint too, which keeps nothing then.
with seen as (
  select t.tgrelid::regclass::text as table_name, t.tgname::text as name, t.tgisinternal as is_constraint,
         t.tgenabled = 'D' as suspect
  from pg_trigger t
  where t.tgparentid = 0
)
select t.examined, j.*
from (select count(*) as examined from seen) t
left join seen j on j.suspect
order by j.table_name, j.name

-- name: unlogged
-- Tables whose rows a crash removes and a standby never has.
with seen as (
  select c.oid::regclass::text as name, c.relpersistence = 'u' as suspect
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
)
select t.examined, j.*
from (select count(*) as examined from seen) t
left join seen j on j.suspect
order by j.name
