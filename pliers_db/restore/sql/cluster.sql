-- What a restore asks the server before it writes, and what it does there.

-- name: me
-- The server, and what our role may do on it.
select current_setting('server_version_num')::int as server_version_num,
       r.rolname as role,
       r.rolsuper as superuser,
       r.rolsuper or r.rolcreatedb as may_create
  from pg_roles r
 where r.rolname = current_user;

-- name: roles
-- Which of some roles exist, and whether we can act as them.
select rolname, pg_has_role(current_user, oid, 'member') from pg_roles where rolname = any(%(names)s);

-- name: extensions
-- Which of some extensions could be created, in which version, and whether that takes a superuser.
select e.name, e.default_version, bool_or(v.superuser and not v.trusted)
  from pg_available_extensions e
  join pg_available_extension_versions v on v.name = e.name and v.version = e.default_version
 where e.name = any(%(names)s)
 group by e.name, e.default_version;

-- name: databases
-- Every database with its comment, where our marks stand. No sizes here: another database may be dropped while this
-- runs, and pg_database_size of one that has gone is an error.
select d.datname, coalesce(shobj_description(d.oid, 'pg_database'), ''), d.datallowconn, pg_get_userbyid(d.datdba)
  from pg_database d
 where not d.datistemplate
 order by d.datname;

-- name: sizes
-- How large some databases are, in bytes, as far as we may connect to them.
select datname, pg_database_size(oid)
  from pg_database
 where datname = any(%(names)s) and has_database_privilege(oid, 'connect');

-- name: sessions
-- Who else is connected to a database.
select coalesce(nullif(application_name, ''), backend_type), coalesce(usename::text, ''),
       coalesce(host(client_addr), 'local'), count(*)::int
  from pg_stat_activity
 where datname = %(database)s and pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')
 group by 1, 2, 3
 order by 4 desc, 1;

-- name: terminate
-- End them.
select pg_terminate_backend(pid)
  from pg_stat_activity
 where datname = %(database)s and pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender');

-- name: prepared
-- Transactions prepared for two-phase commit: they keep a database from being renamed.
select gid from pg_prepared_xacts where database = %(database)s;

-- name: lock_tables
-- The lock tables of yoyo: a row in one, restored, would keep every later migration waiting.
select n.nspname, c.relname
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relname = 'yoyo_lock' and c.relkind = 'r';
