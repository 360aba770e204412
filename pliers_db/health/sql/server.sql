-- name: facts
-- Who and where we are, and what the role may see. Asked once.
select current_setting('server_version_num')::int as version_num,
       split_part(current_setting('server_version'), ' ', 1) as version,
       pg_is_in_recovery() as standby,
       current_user::text as role,
       (select rolsuper from pg_roles where rolname = current_user) as superuser,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') as monitor,
       has_table_privilege('pg_catalog.pg_hba_file_rules', 'select')
         and has_function_privilege('pg_catalog.pg_hba_file_rules()', 'execute') as hba,
       current_database()::text as database,
       now() as now

-- name: extensions
-- The installed extensions, and whether a newer version lies on the server.
-- An installed version that the server no longer offers is what pg_upgrade leaves behind, not an update to make.
select e.extname::text as name,
       e.extversion as installed,
       a.default_version as available,
       exists (select from pg_available_extension_versions v
               where v.name = e.extname and v.version = e.extversion) as offered
from pg_extension e
left join pg_available_extensions a on a.name = e.extname
order by 1

-- name: connections
-- How many connections are used, of those that an ordinary role may have.
-- From pg_stat_database: a plain role does not see all sessions in pg_stat_activity.
select (select sum(numbackends) from pg_stat_database)::int as used,
       current_setting('max_connections')::int as maximum,
       current_setting('superuser_reserved_connections')::int
         + coalesce(current_setting('reserved_connections', true)::int, 0) as reserved

-- name: pool
-- How many connections one application could have at most.
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0) as usable,
       (select datconnlimit from pg_database where datname = current_database()) as database_limit,
       (select rolconnlimit from pg_roles where rolname = current_user) as role_limit

-- name: environment
-- Whether the database holds anything of its own.
select exists (
  select from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p')
    and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                    and d.deptype = 'e')
) as has_tables
