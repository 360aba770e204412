-- name: install
-- Two event triggers that write down what a session cannot see afterwards: rewrites with their reason, and drops.
create schema pliers_trace;
create table pliers_trace.seen (
    id bigint generated always as identity, relation oid, reason integer, kind text, identity text, original boolean,
    normal boolean
);
create function pliers_trace.rewrite() returns event_trigger language plpgsql security definer
    set search_path = pg_catalog as $$
begin
    insert into pliers_trace.seen (relation, reason)
    values (pg_event_trigger_table_rewrite_oid(), pg_event_trigger_table_rewrite_reason());
end $$;
create function pliers_trace.dropped() returns event_trigger language plpgsql security definer
    set search_path = pg_catalog as $$
begin
    insert into pliers_trace.seen (kind, identity, original, normal)
    select object_type, object_identity, original, normal
      from pg_event_trigger_dropped_objects() where not is_temporary;
end $$;
grant usage on schema pliers_trace to public;
grant select on pliers_trace.seen to public;
create event trigger pliers_trace_rewrite on table_rewrite execute function pliers_trace.rewrite();
create event trigger pliers_trace_drop on sql_drop execute function pliers_trace.dropped()

-- name: relations
-- Which relations are there? An index with its table; a partition with the table at the top.
select c.oid, format('%I.%I', n.nspname, c.relname),
       case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
            when 'm' then 'materialized view' when 'S' then 'sequence' when 'f' then 'foreign table' else 'index' end,
       i.indrelid,
       case when c.relispartition then pg_catalog.pg_partition_root(coalesce(i.indrelid, c.oid))::oid end,
       c.relfilenode
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  left join pg_catalog.pg_index i on i.indexrelid = c.oid
 where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I') and c.relpersistence <> 't'
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pliers_trace')

-- name: locks
-- Which locks on relations does this session hold? Not joined with pg_class: a dropped relation is in no catalog.
select l.relation, l.mode
  from pg_catalog.pg_locks l
 where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation' and l.granted
   and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())

-- name: scans
-- How often has this session begun to read each table from end to end, as far as it has not been told to the collector?
select relid, seq_scan from pg_catalog.pg_stat_xact_user_tables where seq_scan > 0

-- name: all_scans
-- The same over all sessions, for what runs outside a transaction.
select relid, seq_scan from pg_catalog.pg_stat_user_tables where seq_scan > 0

-- name: seen
-- What have the event triggers written down since?
select id, relation, reason, kind, identity, original, normal from pliers_trace.seen where id > %(last)s order by id

-- name: sizes
-- How large is each table, with its TOAST, and how large are its indexes? A partitioned table is all its partitions.
with size as (
    select c.oid, c.relkind, n.nspname, c.relname, pg_catalog.pg_table_size(c.oid) as heap,
           pg_catalog.pg_indexes_size(c.oid) as indexes, greatest(c.reltuples, 0) as rows
      from pg_catalog.pg_class c
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'm', 'i')
       and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
)
select format('%I.%I', s.nspname, s.relname), sum(part.heap)::bigint, sum(part.indexes)::bigint, sum(part.rows)::bigint
  from size s
  join lateral (select relid from pg_catalog.pg_partition_tree(s.oid) where s.relkind = 'p'
                union all select s.oid where s.relkind <> 'p') as t on true
  join size part on part.oid = t.relid
 group by s.oid, s.nspname, s.relname
