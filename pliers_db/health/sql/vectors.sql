-- name: columns
-- Columns of pgvector's types, whether an index finds neighbours in them, and how large it is.
with types as (
  select t.oid, t.typname
  from pg_extension e
  join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.classid = 'pg_type'::regclass
  join pg_type t on t.oid = d.objid
  where e.extname = 'vector' and t.typname in ('vector', 'halfvec', 'sparsevec')
)
select c.oid::regclass::text as table_name, quote_ident(a.attname) as column_name, t.typname::text as type,
       a.atttypmod as dimensions,
       (select sum(greatest(p.reltuples, 0))::float8 from pg_class p
        where p.oid = c.oid or p.oid in (select inhrelid from pg_inherits where inhparent = c.oid)) as rows,
       i.name as index_name, i.method, i.bytes, i.lists,
       pg_size_bytes(current_setting('shared_buffers'))::float8 as shared_buffers
from types t
join pg_attribute a on a.atttypid = t.oid and a.attnum > 0 and not a.attisdropped
join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm') and not c.relispartition
left join lateral (
  select x.indexrelid::regclass::text as name, m.amname::text as method,
         (select sum(p.relpages)::float8 * current_setting('block_size')::float8 from pg_class p
          where p.oid = ic.oid or p.oid in (select inhrelid from pg_inherits where inhparent = ic.oid)) as bytes,
         (select o.option_value::int from pg_options_to_table(ic.reloptions) o where o.option_name = 'lists') as lists
  from pg_index x
  join pg_class ic on ic.oid = x.indexrelid
  join pg_am m on m.oid = ic.relam
  where x.indrelid = c.oid and a.attnum = any(x.indkey) and m.amname in ('hnsw', 'ivfflat') and x.indisvalid
) i on true
order by 1, 2, i.name
