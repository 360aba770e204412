-- Where a backup comes from: facts for the manifest.

-- name: source
-- The database and its server.
select d.datname as database,
       current_setting('server_version') as server_version,
       current_setting('server_version_num')::int as server_version_num,
       pg_is_in_recovery() as in_recovery,
       pg_database_size(d.oid) as size_bytes,
       coalesce((select max(pg_relation_size(oid)) from pg_class where relkind = 'i'), 0) as largest_index_bytes,
       pg_encoding_to_char(d.encoding) as encoding,
       d.datcollate as "collate",
       d.datctype as ctype,
       case d.datlocprovider when 'i' then 'icu' when 'b' then 'builtin' else 'libc' end as locale_provider
  from pg_database d
 where d.datname = current_database();

-- name: may_identify
-- A few managed services keep pg_control_system() from ordinary roles.
select has_function_privilege('pg_control_system()', 'execute');

-- name: system_identifier
-- Which cluster this is.
select system_identifier::text from pg_control_system();

-- name: locale
-- The locale of the providers icu and builtin; the column was renamed in 17.
select coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale')
  from pg_database d
 where d.datname = current_database();

-- name: extensions
-- The installed extensions; plpgsql is everywhere.
select e.extname, e.extversion, n.nspname
  from pg_extension e
  join pg_namespace n on n.oid = e.extnamespace
 where e.extname <> 'plpgsql'
 order by e.extname;

-- name: roles
-- Every role that owns something in this database or may use it. Nothing is recorded about what belongs to the
-- superuser of initdb (oid 10): it is looked up at its tables, functions and schemas.
with here as (
    select oid, datdba from pg_database where datname = current_database()
)
select r.rolname
  from pg_roles r, here
 where r.oid = here.datdba
    or exists (select from pg_shdepend s
                where s.refclassid = 'pg_authid'::regclass and s.refobjid = r.oid
                  and (s.dbid = here.oid
                       or s.dbid = 0 and s.classid = 'pg_database'::regclass and s.objid = here.oid))
    or r.oid = 10
       and (exists (select from pg_class where relowner = 10 and oid >= 16384)
            or exists (select from pg_proc where proowner = 10 and oid >= 16384)
            or exists (select from pg_namespace where nspowner = 10 and oid >= 16384))
 order by r.rolname;

-- name: migration_tables
-- Where yoyo keeps what it has applied: its schema is the user's choice.
select n.nspname, c.relname
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relname = '_yoyo_migration' and c.relkind in ('r', 'p')
 order by n.nspname;

-- name: end_orphans
-- The sessions of a backup whose maker was killed: its pg_dump may still be running.
select pg_terminate_backend(pid)
  from pg_stat_activity
 where application_name = any(%(names)s) and pid <> pg_backend_pid() and usename = current_user;
