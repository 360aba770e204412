-- name: facts
-- Where do yoyo's tables stand (or would stand), and what may this role do on this server?
with home as (
    select coalesce(
        (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.oid = to_regclass('_yoyo_migration')),
        current_schema(),
        'public') as name
)
select home.name as schema,
       exists (select from pg_namespace n where n.nspname = home.name) as schema_exists,
       to_regclass(format('%I._yoyo_migration', home.name)) is not null as has_history,
       to_regclass(format('%I._yoyo_version', home.name)) is not null as has_version,
       to_regclass(format('%I.yoyo_lock', home.name)) is not null as has_lock,
       to_regclass(format('%I._pliers_lock', home.name)) is not null as has_owner,
       pg_is_in_recovery() as standby,
       current_setting('transaction_read_only')::bool as read_only,
       current_user::text as role
  from home

-- name: privileges
-- Which of the privileges that migrating needs does this role lack?
select needed.privilege, needed.object
  from (values ('create', %(schema)s, null),
               ('insert, delete, select', %(schema)s, '_yoyo_migration'),
               ('insert', %(schema)s, '_yoyo_log'),
               ('insert, delete, select', %(schema)s, 'yoyo_lock'),
               ('insert, delete, select', %(schema)s, '_pliers_lock')) as w(privileges, schema, relation),
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
                             '_pliers_lock', '_pliers_migration')
       and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                          and d.deptype = 'e'))

-- name: dead_lock
-- Did a run leave its lock row behind: an owner record whose session is gone?
select exists (
    select from {owners} o
     where not exists (select from pg_stat_activity a
                        where a.pid = o.backend_pid
                          and coalesce(a.backend_start, o.backend_start) = o.backend_start))
