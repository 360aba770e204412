-- name: relations
-- What are these relations, how large, and how many rows do they hold? By pg_class alone: no lock on any of them, and no
-- right on them is needed. A name without a schema is looked for on the search path, then, where it is the only one of
-- its kind, elsewhere: a file may set a search_path of its own.
with recursive wanted as (
    select ordinality as number, name, schema_name
      from unnest(%(names)s::text[], %(schemas)s::text[]) with ordinality as w (name, schema_name, ordinality)
), candidates as (
    select w.number, c.oid, array_position(current_schemas(true), n.nspname) as place,
           count(*) over (partition by w.number) as rivals
      from wanted w
      join pg_class c on c.relname = w.name and c.relkind in ('r', 'p', 'v', 'm', 'f', 'i', 'I', 'S')
      join pg_namespace n on n.oid = c.relnamespace
     where case when w.schema_name is null then n.nspname !~ '^pg_(toast|temp)' else n.nspname = w.schema_name end
), found as (
    select distinct on (number) number, oid
      from candidates
     where place is not null or rivals = 1
        or number in (select number from wanted where schema_name is not null)
     order by number, place nulls last
), tree as (
    select number, oid, oid as leaf from found
    union
    select t.number, t.oid, i.inhrelid from tree t join pg_inherits i on i.inhparent = t.leaf
)
select t.number::int, n.nspname, c.relname, c.relkind::text as kind,
       (sum(l.relpages::bigint + coalesce(toast.relpages, 0)) * current_setting('block_size')::bigint)::bigint as bytes,
       case when bool_or(l.reltuples < 0 and l.relkind in ('r', 'm', 'i')) then null
            else sum(greatest(l.reltuples, 0)) filter (where l.relkind in ('r', 'm', 'i'))::bigint end as rows,
       on_schema.nspname as table_schema, on_table.relname as table_name,
       count(*) filter (where l.relkind in ('r', 'm', 'f'))::int as leaves
  from tree t
  join pg_class c on c.oid = t.oid
  join pg_namespace n on n.oid = c.relnamespace
  join pg_class l on l.oid = t.leaf
  left join pg_class toast on toast.oid = l.reltoastrelid
  left join pg_index x on x.indexrelid = c.oid
  left join pg_class on_table on on_table.oid = x.indrelid
  left join pg_namespace on_schema on on_schema.oid = on_table.relnamespace
 group by t.number, n.nspname, c.relname, c.relkind, on_schema.nspname, on_table.relname
 order by t.number

-- name: running_dumps
-- Who is dumping this database, and since when (hidden from roles without pg_read_all_stats)?
select pid, application_name as name, backend_start as since
  from pg_stat_activity
 where datname = current_database() and application_name like '%pg_dump%' and pid <> pg_backend_pid()
 order by backend_start nulls last, pid
