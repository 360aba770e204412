-- name: facts
-- Where do yoyo's tables stand (or would stand), and what may this role do on this server?
with home as (
    select coalesce(
        %(schema)s::text,
        (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.oid = to_regclass('_yoyo_migration')),
        current_schema(),
        'public') as name
)
select home.name as schema,
       exists (select from pg_namespace n where n.nspname = home.name) as schema_exists,
       to_regclass(format('%%I._yoyo_migration', home.name)) is not null as has_history,
       to_regclass(format('%%I._yoyo_version', home.name)) is not null as has_version,
       coalesce(has_table_privilege(to_regclass(format('%%I._yoyo_log', home.name)), 'select'), false) as reads_log,
       to_regclass(format('%%I.yoyo_lock', home.name)) is not null as has_lock,
       to_regclass(format('%%I._pliers_lock', home.name)) is not null
           and to_regclass(format('%%I._pliers_migration', home.name)) is not null
           and to_regclass(format('%%I._pliers_progress', home.name)) is not null as has_own,
       coalesce(has_table_privilege(to_regclass(format('%%I._pliers_migration', home.name)), 'select')
           and has_table_privilege(to_regclass(format('%%I._pliers_progress', home.name)), 'select'), false)
           as reads_own,
       pg_is_in_recovery() as standby,
       current_setting('transaction_read_only')::bool as read_only,
       current_user::text as role
  from home

-- name: schemas
-- The schemas that are not the server's own.
select nspname from pg_namespace
 where nspname !~ '^pg_' and nspname <> 'information_schema'
 order by nspname

-- name: privileges
-- Which of the privileges that migrating needs does this role lack?
select needed.privilege, needed.object
  from (values ('create', %(schema)s, null),
               ('insert, delete, select', %(schema)s, '_yoyo_migration'),
               ('insert', %(schema)s, '_yoyo_log'),
               ('insert, delete, select', %(schema)s, 'yoyo_lock'),
               ('insert, delete, select', %(schema)s, '_pliers_lock'),
               ('insert, update, delete, select', %(schema)s, '_pliers_migration'),
               ('insert, update, delete, select', %(schema)s, '_pliers_progress')) as w(privileges, schema, relation),
       lateral (select trim(p) as privilege,
                       case when w.relation is null then format('schema %%I', w.schema)
                            else format('%%I.%%I', w.schema, w.relation) end as object,
                       to_regclass(format('%%I.%%I', w.schema, w.relation)) as oid
                  from unnest(string_to_array(w.privileges, ',')) p) needed
 where case when w.relation is null
            then %(creates)s and not has_schema_privilege(w.schema, needed.privilege)
            else needed.oid is not null and not has_table_privilege(needed.oid, needed.privilege) end

-- name: create_yoyo_lock
-- As stock yoyo makes it.
create table if not exists {} (locked int default 1, ctime timestamp, pid int not null, primary key (locked))

-- name: create_pliers_lock
-- Whose the row in yoyo's lock table is.
create table if not exists {} (
    pid int not null, ctime timestamp not null, host text, backend_pid int, backend_start timestamptz)

-- name: create_pliers_migration
-- What yoyo does not keep: the text of each applied migration and of what undoes it. A row counts only beside a row of
-- yoyo's with the same time: stock yoyo may have rolled back and applied since.
create table if not exists {} (
    migration_hash varchar(64) primary key,
    migration_id varchar(255) not null,
    applied_at_utc timestamp not null,
    sha256 char(64) not null,
    sql text not null,
    rollback_sql text,
    transactional boolean not null,
    rollback_transactional boolean not null,
    duration_ms double precision,
    tool_version text not null)

-- name: create_pliers_progress
-- How far a migration without a transaction has come. A row stands here only while one is under way or part-way.
create table if not exists {} (
    migration_hash varchar(64) primary key,
    migration_id varchar(255) not null,
    operation varchar(10) not null,
    finished int not null,
    statements int not null,
    running boolean not null,
    error text,
    sql text not null,
    at timestamptz not null default now())

-- name: progress
select migration_id, operation, finished, statements, running, error, sql from {} order by migration_id

-- name: invalid_indexes
-- Which INVALID indexes does a table have (or is this index), of one name if it is given?
select format('%%I.%%I', n.nspname, c.relname)
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
 where not i.indisvalid and c.relkind = 'i'
   and (i.indrelid = to_regclass(%(relation)s)
        or i.indrelid = (select x.indrelid from pg_index x where x.indexrelid = to_regclass(%(relation)s)))
   and (%(index)s::text is null or c.relname = %(index)s::text)
 order by 1

-- name: valid_index
-- Is there an index of this name on this table, and is it valid?
select exists (
    select from pg_index i join pg_class c on c.oid = i.indexrelid
     where i.indrelid = to_regclass(%(relation)s) and c.relname = %(index)s and i.indisvalid)

-- name: history
-- What yoyo has recorded as applied, with what we know of it. The text only where its hash is not one of the folder's.
select m.migration_id, m.migration_hash, m.applied_at_utc, p.sha256, p.duration_ms,
       p.rollback_sql is not null as reversible,
       case when p.sha256 = any(%s) then null else p.sql end as sql
  from {yoyo} m
  left join {own} p on p.migration_hash = m.migration_hash and p.applied_at_utc = m.applied_at_utc
 order by m.applied_at_utc, m.migration_id

-- name: stored_rollback
-- What undoes an applied migration, as its file stood when it was applied.
select p.rollback_sql, p.rollback_transactional
  from {own} p join {yoyo} m on m.migration_hash = p.migration_hash and m.applied_at_utc = p.applied_at_utc
 where p.migration_hash = %s

-- name: log
-- Everything that was ever applied, rolled back, marked or unmarked; the duration of what is applied now.
select l.migration_id, l.operation, l.username, l.hostname, l.created_at_utc, p.duration_ms
  from {log} l
  left join {own} p on p.migration_hash = l.migration_hash and l.operation = 'apply'
       and l.created_at_utc = (select max(created_at_utc) from {log} n
                                where n.migration_hash = l.migration_hash and n.operation = 'apply')
 order by l.created_at_utc desc, l.id limit %s

-- name: who
-- Who applied (or marked) each migration last, and on which host?
select distinct on (migration_hash) migration_hash, concat_ws('@', username, hostname)
  from {} where operation in ('apply', 'mark') order by migration_hash, created_at_utc desc

-- name: plain_log
-- The same where our table is not there, or not ours to read.
select migration_id, operation, username, hostname, created_at_utc, null
  from {log} order by created_at_utc desc, id limit %s

-- name: plain_lock_row
-- The same before our tables are there.
select pid, ctime, false as ours, null as host from {rows}

-- name: terminate_holders
-- End the sessions that hold the advisory lock.
select pg_terminate_backend(pid) from pg_locks
 where locktype = 'advisory' and granted and classid = 1886153061 and objid = %s and objsubid = 2
   and database = (select oid from pg_database where datname = current_database()) and pid <> pg_backend_pid()

-- name: cancel_schemas
-- Cancel what runs in the sessions that hold the lock of a schema (db/locks.py, SchemaLock).
select pg_cancel_backend(pid) from pg_locks
 where locktype = 'advisory' and granted and classid = 1886153075 and objsubid = 2
   and database = (select oid from pg_database where datname = current_database()) and pid <> pg_backend_pid()

-- name: terminate_schemas
-- End those sessions.
select pg_terminate_backend(pid) from pg_locks
 where locktype = 'advisory' and granted and classid = 1886153075 and objsubid = 2
   and database = (select oid from pg_database where datname = current_database()) and pid <> pg_backend_pid()

-- name: sessions_before
-- Which other clients of this database have been connected since before that time (or for how long is hidden)?
select pid, coalesce(nullif(application_name, ''), 'a session') as name
  from pg_stat_activity
 where datname = current_database() and pid <> pg_backend_pid()
   and coalesce(backend_type, 'client backend') = 'client backend'
   and coalesce(backend_start, '-infinity') <= %s
 order by pid

-- name: lock_row
-- Who holds yoyo's lock: one of us (then with its host), or stock yoyo?
select l.pid, l.ctime, o.pid is not null as ours, o.host
  from {rows} l left join {owners} o on o.pid = l.pid and o.ctime = l.ctime

-- name: user_tables
-- Does this database hold tables besides yoyo's and ours (and those of extensions)?
select exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'f', 'm')
       and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'
       and c.relname not in ('_yoyo_migration', '_yoyo_log', '_yoyo_version', 'yoyo_lock',
                             '_pliers_lock', '_pliers_migration', '_pliers_progress')
       and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                          and d.deptype = 'e'))

-- name: dead_lock
-- Did a run leave its lock row behind: an owner record whose session is gone?
select exists (
    select from {owners} o
     where not exists (select from pg_stat_activity a
                        where a.pid = o.backend_pid
                          and coalesce(a.backend_start, o.backend_start) = o.backend_start))

-- name: blockers
-- Which sessions keep this backend waiting for a lock?
select b.pid, coalesce(nullif(a.application_name, ''), a.backend_type, 'a session') as name,
       coalesce(a.usename, '?') as role, coalesce(a.state, 'hidden') as state, left(a.query, 200) as query,
       coalesce(extract(epoch from now() - a.state_change), 0)::float8 as age
  from unnest(pg_blocking_pids(%s)) b (pid) left join pg_stat_activity a on a.pid = b.pid
 order by b.pid

-- name: dumps
-- Is somebody dumping this database? DDL waits for a dump, and everybody else behind that DDL.
select pid, coalesce(extract(epoch from now() - backend_start), 0)::float8 as age
  from pg_stat_activity
 where datname = current_database() and application_name like '%pg_dump%' and pid <> pg_backend_pid()
 order by pid

-- name: leaves
-- Which tables hold the rows of a table, of a column or of a schema (its partitions and children too), how many does the
-- planner think there are, and how many with a value? A file may have set its own search_path: a name that is not on
-- ours is looked for in every schema.
with recursive named as (
    select c.oid
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p')
       and case when %(kind)s = 'schema' then n.nspname = (parse_ident(%(name)s))[1]
                when to_regclass(%(name)s) is not null then c.oid = to_regclass(%(name)s)
                else array[c.relname::text] = parse_ident(%(name)s) end
), holding as (
    select oid from named union select i.inhrelid from pg_inherits i join holding h on h.oid = i.inhparent
)
select n.nspname, c.relname, a.attname, greatest(c.reltuples, 0)::bigint as estimate,
       (greatest(c.reltuples, 0) * (1 - coalesce(s.null_frac, 0)))::bigint as with_values
  from holding h
  join pg_class c on c.oid = h.oid and c.relkind = 'r'
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_attribute a on a.attrelid = c.oid and not a.attisdropped and a.attname = (parse_ident(%(column)s))[1]
  left join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname
 where %(column)s::text is null or a.attname is not null
