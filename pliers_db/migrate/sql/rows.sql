-- name: bounds
-- Which rows have a place in a partitioned table? True of them is what is true of the rows of one of its leaves.
select string_agg('(' || coalesce(pg_get_partition_constraintdef(relid), 'true') || ')', ' or ')
  from (
        select relid from pg_partition_tree(%(path)s::regclass)
         where isleaf and level > 0 order by relid::text limit 12
       ) as leaf
