-- name: lag
-- The standbys of this server, and itself if it is one. A standby that has replayed all it received is not behind,
-- however long ago the last transaction was.
select 'standby' as kind, coalesce(nullif(application_name, ''), host(client_addr), pid::text) as name,
       extract(epoch from replay_lag)::float8 as seconds,
       pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                       replay_lsn)::float8 as bytes,
       state, false as paused
from pg_stat_replication
where state <> 'backup'
union all
select 'self', current_setting('cluster_name'),
       case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
            else extract(epoch from now() - pg_last_xact_replay_timestamp()) end::float8,
       null, (select status from pg_stat_wal_receiver),
       case when pg_is_in_recovery() then pg_is_wal_replay_paused() end
where pg_is_in_recovery()

-- name: slots
-- Replication slots: whether somebody reads them, and how much WAL they keep.
select slot_name::text as name, slot_type as type, active, wal_status,
       pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
                       restart_lsn)::float8 as bytes,
       -- from 17 on; before, nobody knows since when a slot is idle
       extract(epoch from now() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8 as idle_seconds,
       to_jsonb(s) ->> 'invalidation_reason' as invalid
from pg_replication_slots s
where not temporary
order by bytes desc nulls last

-- name: archiver
-- Whether WAL gets archived. The counters are since ever: only an unrepaired failure counts.
select current_setting('archive_mode') as mode,
       current_setting('archive_command') in ('', '(disabled)')
         and coalesce(current_setting('archive_library', true), '') = '' as nowhere,
       last_failed_time is not null and last_failed_time > coalesce(last_archived_time, '-infinity') as failing,
       extract(epoch from now() - last_failed_time)::float8 as failed_seconds,
       extract(epoch from now() - coalesce(last_archived_time, stats_reset))::float8 as since_success,
       last_failed_wal, last_archived_wal
from pg_stat_archiver
