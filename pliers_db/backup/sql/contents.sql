-- What a database holds: read in the snapshot that is dumped, and again in the restored database.

-- name: tables
-- The tables whose rows pg_dump writes: no system schema, nothing that an extension brings, no temporary table.
select c.oid, n.nspname, c.relname,
       has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as readable,
       row_security_active(c.oid) as filtered
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r'
   and c.relpersistence <> 't'
   and n.nspname <> 'information_schema'
   and n.nspname !~ '^pg_'
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by n.nspname, c.relname;

-- name: objects
-- How many objects there are of each kind. Not-null constraints are left out: they are objects only from 18 on.
with own_schema as (
    select oid from pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_'
), extension_member as (
    select classid, objid from pg_depend where deptype = 'e'
)
select kind, count(*)::int
  from (
    select case relkind when 'r' then 'tables' when 'p' then 'partitioned tables' when 'v' then 'views'
                        when 'm' then 'materialized views' when 'S' then 'sequences' when 'f' then 'foreign tables'
                        when 'i' then 'indexes' when 'I' then 'partitioned indexes' when 'c' then 'composite types' end
           as kind, oid as id, 'pg_class'::regclass::oid as class
      from pg_class
     where relnamespace in (select oid from own_schema) and relpersistence <> 't' and relkind <> 't'
    union all
    select 'functions', oid, 'pg_proc'::regclass::oid from pg_proc
     where pronamespace in (select oid from own_schema)
    union all
    select 'constraints', oid, 'pg_constraint'::regclass::oid from pg_constraint
     where connamespace in (select oid from own_schema) and contype <> 'n'
    union all
    select 'triggers', oid, 'pg_trigger'::regclass::oid from pg_trigger where not tgisinternal
    union all
    select 'policies', oid, 'pg_policy'::regclass::oid from pg_policy
    union all
    select 'domains and enums', oid, 'pg_type'::regclass::oid from pg_type
     where typnamespace in (select oid from own_schema) and typtype in ('d', 'e')
    union all
    select 'event triggers', oid, 'pg_event_trigger'::regclass::oid from pg_event_trigger
    union all
    select 'extensions', oid, 'pg_extension'::regclass::oid from pg_extension
    union all
    select 'schemas', oid, 'pg_namespace'::regclass::oid from pg_namespace where oid in (select oid from own_schema)
    union all
    select 'large objects', oid, 'pg_largeobject'::regclass::oid from pg_largeobject_metadata
  ) as every
 where not exists (select from extension_member m where m.classid = every.class and m.objid = every.id)
 group by kind
 order by kind;
