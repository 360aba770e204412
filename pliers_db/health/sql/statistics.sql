-- name: cache_hit
-- How many blocks came from shared buffers since the statistics began.
select blks_hit::float8 as hit, blks_read::float8 as read,
       extract(epoch from now() - coalesce(stats_reset, pg_postmaster_start_time()))::float8 as window_seconds
from pg_stat_database
where datname = current_database()

-- name: checkpoints
-- Checkpoints by the clock and by demand.
select checkpoints_timed as timed, checkpoints_req as requested,
       extract(epoch from now() - stats_reset)::float8 as window_seconds
from pg_stat_bgwriter

-- name: checkpoints_17
-- Checkpoints by the clock and by demand.
select num_timed as timed, num_requested as requested,
       extract(epoch from now() - stats_reset)::float8 as window_seconds
from pg_stat_checkpointer

-- name: checksums
-- Blocks whose checksum was wrong when they were read.
select current_setting('data_checksums')::bool as enabled,
       coalesce(datname, 'shared objects')::text as name,
       checksum_failures as failures,
       checksum_last_failure as last_failure
from pg_stat_database
order by checksum_failures desc nulls last
