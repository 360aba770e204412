-- What a database holds: read in the snapshot that is dumped, and again in the restored database.

-- name: dumped_tables
-- The tables for which pg_dump writes data: no system schema, nothing that an extension brings, nothing temporary.
select c.oid, format('%I.%I', n.nspname, c.relname),
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

-- name: compared_tables
-- The tables that are compared, with their size; a partitioned table stands for its partitions.
select format('%I.%I', n.nspname, c.relname), n.nspname, c.relname, c.relkind,
       case c.relkind when 'r' then pg_table_size(c.oid)
                      else (select coalesce(sum(pg_table_size(t.relid)), 0) from pg_partition_tree(c.oid) t) end
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and not c.relispartition
   and c.relpersistence <> 't'
   and n.nspname <> 'information_schema'
   and n.nspname !~ '^pg_'
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
 order by n.nspname, c.relname;

-- name: sequences
-- Where the sequences stand.
select format('%I.%I', s.schemaname, s.sequencename), s.last_value, s.increment_by, s.cycle
  from pg_sequences s
 where s.schemaname <> 'information_schema'
   and s.schemaname !~ '^pg_'
   and not exists (select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.deptype = 'e'
                      and d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass)
 order by s.schemaname, s.sequencename;

-- name: large_objects
-- How many large objects there are.
select count(*) from pg_largeobject_metadata;

-- name: large_objects_hash
-- What they hold, whatever their order.
select coalesce(sum(hashtextextended(oid::text || ' ' || md5(lo_get(oid)), 0)::numeric), 0)::text
  from pg_largeobject_metadata;
