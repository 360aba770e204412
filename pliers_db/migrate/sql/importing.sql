-- name: find_table
-- Which tables have this name, and these columns but not those?
select n.nspname, c.relname
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p')
   and c.relname = %(name)s
   and (%(schema)s::text is null or n.nspname = %(schema)s)
   and %(columns)s::text[] <@ (
       select array_agg(a.attname::text) from pg_attribute a where a.attrelid = c.oid and not a.attisdropped)
   and not exists (
       select from pg_attribute a
        where a.attrelid = c.oid and not a.attisdropped and a.attname = any(%(without)s::text[]))
 order by 1

-- name: dbmate
select version from {} order by version

-- name: golang_migrate
select version::text, dirty from {}

-- name: supabase
select version, to_jsonb(t) -> 'statements' as statements from {} t order by version

-- name: diesel
-- Its times have no zone: they are those of the session that applied it, which nobody recorded.
select version, run_on at time zone current_setting('TimeZone') as at from {} order by version

-- name: goose
select version_id::text as version, is_applied, tstamp at time zone current_setting('TimeZone') as at
  from {} order by id

-- name: flyway
select version, description, type, script, checksum::text, success, execution_time as ms,
       installed_on at time zone current_setting('TimeZone') as at
  from {} order by installed_rank

-- name: sqitch
-- The changes that are deployed, with the newest event of each.
select c.change || ' ' || to_char(c.planned_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as version,
       c.script_hash as checksum, c.committed_at as at
  from {changes} c
 where c.project = {project}
 order by c.committed_at

-- name: ever_recorded
-- The migrations that our log knows, whatever was done to them.
select distinct migration_hash from {}
