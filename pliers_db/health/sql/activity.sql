-- name: idle_in_transaction
-- Sessions of this database that have a transaction open and do nothing.
select pid, usename::text as role, application_name,
       extract(epoch from now() - state_change)::float8 as seconds
from pg_stat_activity
where datname = current_database() and backend_type = 'client backend'
  and state like 'idle in transaction%' and pid <> pg_backend_pid()
order by seconds desc

-- name: long_queries
-- Statements that have been running for long. Maintenance that shows its progress is long by nature.
select a.pid, a.usename::text as role, a.application_name,
       extract(epoch from now() - a.query_start)::float8 as seconds
from pg_stat_activity a
where a.datname = current_database() and a.backend_type = 'client backend'
  and a.state in ('active', 'fastpath function call') and a.pid <> pg_backend_pid()
  and a.pid not in (select pid from pg_stat_progress_vacuum
                    union all select pid from pg_stat_progress_analyze
                    union all select pid from pg_stat_progress_create_index
                    union all select pid from pg_stat_progress_cluster
                    union all select pid from pg_stat_progress_copy)
order by seconds desc

-- name: blocked
-- Who waits for a lock, for how long, and who holds it. pg_blocking_pids takes the lock manager's own locks, so only
-- sessions that do wait are asked about.
select w.pid, w.usename::text as role, w.application_name,
       extract(epoch from now() - l.waitstart)::float8 as seconds,
       case when l.database = d.oid then l.relation::regclass::text end as relation,
       b.pids as blockers,
       (select string_agg(format('pid %s (%s, %s)', a.pid, coalesce(nullif(a.application_name, ''), a.usename::text),
                                 a.state), ', ' order by a.xact_start)
        from pg_stat_activity a where a.pid = any(b.pids)) as blocked_by
from pg_stat_activity w
join pg_database d on d.datname = current_database()
join lateral (select l.* from pg_locks l where l.pid = w.pid and not l.granted limit 1) l on true
cross join lateral (select pg_blocking_pids(w.pid) as pids) b
where w.datid = d.oid and w.wait_event_type = 'Lock' and w.pid <> pg_backend_pid()
order by seconds desc nulls last

-- name: prepared
-- Transactions that are prepared for a two-phase commit and wait for their second phase.
select gid, owner::text as role, extract(epoch from now() - prepared)::float8 as seconds
from pg_prepared_xacts
where database = current_database()
order by seconds desc

-- name: xmin_holders
-- What keeps vacuum from removing dead rows of this database: the oldest snapshots, by who holds them.
select *
from (
  select 'session' as kind, pid::text as holder,
         coalesce(nullif(application_name, ''), usename::text, backend_type) as description,
         greatest(age(backend_xmin), age(backend_xid))::float8 as xids,
         extract(epoch from now() - coalesce(xact_start, backend_start))::float8 as seconds
  from pg_stat_activity
  where (backend_xmin is not null or backend_xid is not null) and pid <> pg_backend_pid()
    and datname = current_database() and backend_type = 'client backend'
  union all
  select 'prepared transaction', gid, owner::text, age(transaction)::float8, extract(epoch from now() - prepared)::float8
  from pg_prepared_xacts where database = current_database()
  union all
  select 'replication slot', slot_name::text, slot_type,
         greatest(age(xmin), age(catalog_xmin))::float8, null
  from pg_replication_slots
  where (xmin is not null or catalog_xmin is not null) and (database is null or database = current_database())
  union all
  select 'standby', coalesce(nullif(application_name, ''), host(client_addr)), state, age(backend_xmin)::float8, null
  from pg_stat_replication where backend_xmin is not null
) holders
order by xids desc
