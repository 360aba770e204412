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
