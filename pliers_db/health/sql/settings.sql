-- name: settings
-- The settings that endanger data, and those that wait for a restart. What a session gets, not what this one has set.
-- After a reload the server calls everything pending that its command line sets otherwise than its file.
select name, reset_val as setting, pending_restart and source <> 'command line' as pending_restart
from pg_settings
where pending_restart
   or name in ('fsync', 'full_page_writes', 'autovacuum', 'track_counts', 'zero_damaged_pages', 'ignore_checksum_failure',
               'password_encryption', 'idle_in_transaction_session_timeout', 'data_checksums')
order by name

-- name: collation
-- Collations whose version at the time of the index is another than the operating system's now. Where one of the two is
-- unknown the provider tracks no version. Only collations that something here uses.
select 'database ' || quote_ident(datname) as name, datcollversion as recorded,
       pg_database_collation_actual_version(oid) as actual,
       format('reindex database %1$I; alter database %1$I refresh collation version;', datname) as fix
from pg_database
where datname = current_database()
  and datcollversion <> pg_database_collation_actual_version(oid)
union all
select 'collation ' || c.oid::regcollation::text, c.collversion, pg_collation_actual_version(c.oid),
       format('alter collation %s refresh version; after reindexing what uses it', c.oid::regcollation)
from pg_collation c
where c.collversion <> pg_collation_actual_version(c.oid)
  and (exists (select from pg_attribute a join pg_class r on r.oid = a.attrelid
               where a.attcollation = c.oid and r.relkind in ('r', 'p', 'm', 'i') and a.attnum > 0 and not a.attisdropped)
       or exists (select from pg_index i where c.oid = any(i.indcollation)))

-- name: tls
-- How this very connection came in.
select s.ssl, s.version, s.cipher, inet_client_addr() is null as is_local, host(inet_client_addr()) as address
from pg_stat_ssl s
where s.pid = pg_backend_pid()

-- name: hba
-- Lines of pg_hba.conf that let somebody in over the network without a password, or with one that can be read.
select line_number, type, array_to_string(user_name, ',') as users, array_to_string(database, ',') as databases,
       coalesce(address, '') as address, auth_method as method, error,
       coalesce(address in ('127.0.0.1', '::1', 'samehost', 'localhost'), false) as is_loopback
from pg_hba_file_rules
where error is not null or type <> 'local'
order by line_number

-- name: role
-- What the current role could do by mistake, and who else could.
select r.rolname::text as name, r.rolsuper as superuser, r.rolbypassrls as bypassrls, r.rolcreaterole as createrole,
       case when isfinite(r.rolvaliduntil) then extract(epoch from r.rolvaliduntil - now()) end::float8 as valid_seconds,
       (select count(*) from pg_roles o where o.rolsuper and o.rolcanlogin) as login_superusers
from pg_roles r
where r.rolname = current_user

-- name: public_create
-- Schemas in which every role may create objects, and so put its own in front of others' (CVE-2018-1058).
select n.nspname::text as name
from pg_namespace n
where n.nspname !~ '^pg_' and has_schema_privilege('public', n.oid, 'create')
order by 1

-- name: security_definer
-- Functions that run with their owner's rights and the caller's search path.
with seen as (
  select p.oid::regprocedure::text as name,
         not exists (select from unnest(p.proconfig) s where s like 'search_path=%') as suspect
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  where p.prosecdef and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
)
select t.examined, j.*
from (select count(*) as examined from seen) t
left join seen j on j.suspect
order by j.name

-- name: connection_limits
-- Databases and roles with a limit of their own, and how much of it is used.
select 'database' as kind, d.datname::text as name, d.datconnlimit as maximum, s.numbackends::int as used
from pg_database d
join pg_stat_database s on s.datid = d.oid
where d.datconnlimit > 0
union all
select 'role', r.rolname::text, r.rolconnlimit, (select count(*)::int from pg_stat_activity a where a.usesysid = r.oid)
from pg_roles r
where r.rolconnlimit > 0
