-- name: invalid
-- Indexes that no query can use. One under construction is not broken, and the index of a partitioned table is
-- valid only when each partition has its part. A plain role does not see what another role builds
-- (pg_stat_progress_create_index hides the columns), but pg_locks shows everybody that the table is being worked on.
select c.oid::regclass::text as name,
       i.indrelid::regclass::text as table_name,
       i.indisunique as is_unique,
       not i.indisvalid and c.relkind <> 'I'
         and not exists (
           select from pg_stat_progress_create_index p
           where p.index_relid = c.oid
              or p.index_relid is null and p.datname = current_database()
                 and exists (select from pg_locks l
                             where l.pid = p.pid and l.relation = i.indrelid
                               and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock'))
         ) as suspect,
       count(*) over () as examined
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_(toast|temp)' and n.nspname not in ('pg_catalog', 'information_schema')
order by suspect desc, 1
limit 201

-- name: duplicates
-- Indexes that do the same as another one (same), or whose columns are the first ones of another (covered).
-- Expressions are compared as stored trees without their positions in the statement: printing them with pg_get_expr
-- would wait behind an ALTER TABLE.
with seen as (
  select i.indexrelid, i.indrelid, c.relam, i.indisunique, i.indnullsnotdistinct, i.indnkeyatts, i.indnatts,
         i.indkey::text as keys,
         i.indclass::text as classes, i.indcollation::text as collations, i.indoption::text as options,
         coalesce(regexp_replace(i.indexprs::text, ':location -?\d+', '', 'g'), '') as expressions,
         coalesce(regexp_replace(i.indpred::text, ':location -?\d+', '', 'g'), '') as predicate,
         i.indisreplident or exists (select from pg_constraint k where k.conindid = i.indexrelid) as needed,
         pg_stat_get_numscans(i.indexrelid) as scans
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not c.relispartition and i.indisvalid
), pairs as (
  select distinct on (a.indexrelid) a.indexrelid, b.indexrelid as other,
         a.keys = b.keys and a.indisunique = b.indisunique and a.indnkeyatts = b.indnkeyatts as same
  from seen a
  join seen b on a.indrelid = b.indrelid and a.indexrelid <> b.indexrelid and a.relam = b.relam
    and a.predicate = b.predicate
  where not a.needed
    and (
      -- the same in everything; of two that nobody needs the one that is used less, then the younger one
      a.keys = b.keys and a.classes = b.classes and a.collations = b.collations and a.options = b.options
      and a.expressions = b.expressions and a.indnkeyatts = b.indnkeyatts and a.indisunique = b.indisunique
      and a.indnullsnotdistinct = b.indnullsnotdistinct
      and (b.needed or (a.scans, -a.indexrelid::int8) < (b.scans, -b.indexrelid::int8))
      or
      -- the first columns of a btree on more of them, or those of a unique one
      not a.indisunique and a.expressions = '' and b.expressions = '' and a.indnatts = a.indnkeyatts
      and (select amname from pg_am where oid = a.relam) = 'btree'
      and (a.indnatts < b.indnkeyatts or a.indnatts = b.indnkeyatts and b.indisunique)
      and b.keys || ' ' like a.keys || ' %'
      and b.classes || ' ' like a.classes || ' %'
      and b.collations || ' ' like a.collations || ' %'
      and b.options || ' ' like a.options || ' %'
    )
  order by a.indexrelid, same desc, b.needed desc, b.indexrelid
)
select t.examined, p.indexrelid::regclass::text as name, p.other::regclass::text as other, p.same,
       p.indexrelid is not null as suspect
from (select count(*) as examined from seen) t
left join pairs p on true
order by p.same desc, 2

-- name: unused
-- Large indexes that no query has used since the statistics began, and that nothing else needs: not unique (so no
-- replica identity either), of no constraint, not the only index of a foreign key. The index of a partitioned table is used if one of its parts is.
with recursive parts as (
  select i.indexrelid as root, i.indexrelid as part
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  where not c.relispartition
  union all
  select p.root, h.inhrelid from parts p join pg_inherits h on h.inhparent = p.part
), usage as (
  select root, sum(pg_stat_get_numscans(part)) as scans, sum(c.relpages) as pages
  from parts join pg_class c on c.oid = part
  group by root
), seen as (
  select i.indexrelid::regclass::text as name, i.indrelid::regclass::text as table_name,
         u.pages * current_setting('block_size')::float8 as bytes,
         u.scans = 0 and u.pages > 1280 and not i.indisunique and i.indisvalid
           and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
           and not exists (
             select from pg_constraint f
             where f.contype = 'f' and f.conrelid = i.indrelid
               and (i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey
               and not exists (
                 select from pg_index o
                 where o.indrelid = i.indrelid and o.indexrelid <> i.indexrelid and o.indisvalid and o.indpred is null
                   and (o.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey)
           ) as suspect
  from usage u
  join pg_index i on i.indexrelid = u.root
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
)
select t.examined, t.window_seconds, t.standbys, j.*
from (
  select (select count(*) from seen) as examined,
         -- without a time of reset the statistics are at least as old as the server's start
         (select extract(epoch from now() - coalesce(stats_reset, pg_postmaster_start_time()))::float8
          from pg_stat_database where datname = current_database()) as window_seconds,
         (select count(*) from pg_stat_replication) as standbys
) t
left join seen j on j.suspect
order by j.bytes desc

-- name: foreign_keys
-- Foreign keys whose columns are not the first ones (in any order) of a valid index on all rows: deleting or changing a
-- referenced row reads the whole referencing table. A unique index on some of the columns finds the one row as well.
with seen as (
  select f.oid, f.conrelid, f.conname::text as constraint_name, f.conkey,
         not exists (
           select from pg_index i
           join pg_class c on c.oid = i.indexrelid
           join pg_am m on m.oid = c.relam
           where i.indrelid = f.conrelid and i.indisvalid and i.indpred is null
             and (m.amname = 'btree' or m.amname = 'hash' and cardinality(f.conkey) = 1)
             and ((i.indkey::int2[])[0:cardinality(f.conkey) - 1] @> f.conkey
                  or i.indisunique and (i.indkey::int2[])[0:i.indnkeyatts - 1] <@ f.conkey)
         ) as suspect
  from pg_constraint f
  join pg_class c on c.oid = f.conrelid
  where f.contype = 'f' and f.conparentid = 0
)
select t.examined, j.suspect, j.conrelid::regclass::text as table_name, j.constraint_name,
       (select string_agg(quote_ident(a.attname), ', ' order by k.ord)
        from unnest(j.conkey) with ordinality k(attnum, ord)
        join pg_attribute a on a.attrelid = j.conrelid and a.attnum = k.attnum) as columns,
       -- not by pg_partition_tree, which locks the partitions
       (select sum(greatest(c.reltuples, 0))::float8
        from pg_class c
        where c.oid = j.conrelid or c.oid in (select inhrelid from pg_inherits where inhparent = j.conrelid)) as rows
from (select count(*) as examined from seen) t
left join seen j on j.suspect
order by rows desc nulls last
