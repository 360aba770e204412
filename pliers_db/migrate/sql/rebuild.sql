-- name: facts
-- Who has migrated this database (or owns most of it, or is asking), and what is it?
select coalesce(
           (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = to_regclass(format('%%I._yoyo_migration', %(schema)s::text))),
           (select pg_get_userbyid(c.relowner)
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
               and not exists (select from pg_depend d
                                where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
             group by c.relowner order by count(*) desc, 1 limit 1),
           current_user)::text as owner,
       current_database()::text as database,
       array(select rolname::text from pg_roles where rolname !~ '^pg_' order by 1) as roles

-- name: stored_mode
-- Did these migrations run in a transaction when they were applied?
select migration_id, transactional from {own} where migration_id = any(%s)

-- name: missing_roles
select r from unnest(%s::text[]) r where not exists (select from pg_roles where rolname = r)

-- name: offered_extensions
-- Which versions of these extensions could be installed here?
select name, version from pg_available_extension_versions where name = any(%s)

-- name: sequences
-- Where does each sequence stand that belongs to no extension?
select format('%I.%I', schemaname, sequencename) as path, last_value from pg_sequences order by 1
