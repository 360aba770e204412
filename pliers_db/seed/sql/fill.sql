-- name: partitions
-- For each partitioned table what a row must meet to find a partition, one line per leaf.
select format('%s.%s', n.nspname, c.relname) as name, pg_get_partition_constraintdef(leaf.relid) as condition
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
cross join lateral pg_partition_tree(c.oid) as leaf
join pg_class as l on l.oid = leaf.relid and l.relkind <> 'p'
where c.relkind = 'p' and not c.relispartition and leaf.isleaf
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'

-- name: stage
create temp table {stage} on commit drop as
select 0 as "@row"{columns} from {table} with no data

-- name: copy
copy {stage} ("@row"{columns}) from stdin

-- name: insert
insert into {table} as t ({columns}) overriding system value
select {columns} from {stage} order by "@row"
returning {key} as key

-- name: present
-- Rows that are there already, as far as others may refer to them or clash with them.
select {columns} from {table} order by {order} limit 10000

-- name: highest
select {columns} from {table}
