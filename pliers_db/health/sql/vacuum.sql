-- name: wraparound
-- How far each database is from running out of transaction ids, and the oldest table of this one.
select d.datname::text as name,
       age(d.datfrozenxid)::float8 as xids,
       mxid_age(d.datminmxid)::float8 as multixacts,
       d.datname = current_database() as is_here,
       case when d.datname = current_database() then
         (select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'm', 't') and c.relfrozenxid <> '0'::xid
          order by age(c.relfrozenxid) desc limit 1)
       end as oldest_table
from pg_database d
order by greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) desc

-- name: autovacuum_lag
-- Tables with more dead rows than their own trigger for autovacuum accounts for, and those that switch it off.
-- The trigger: threshold + scale factor * rows, a table's own options before the server's; from 18 on with a maximum.
with options as (
  select c.oid, c.reltuples,
         coalesce(max(o.option_value) filter (where o.option_name = 'autovacuum_enabled'), 'true')::bool as enabled,
         coalesce(max(o.option_value) filter (where o.option_name = 'autovacuum_vacuum_threshold'),
                  current_setting('autovacuum_vacuum_threshold'))::float8 as threshold,
         coalesce(max(o.option_value) filter (where o.option_name = 'autovacuum_vacuum_scale_factor'),
                  current_setting('autovacuum_vacuum_scale_factor'))::float8 as scale_factor,
         coalesce(max(o.option_value) filter (where o.option_name = 'autovacuum_vacuum_max_threshold'),
                  current_setting('autovacuum_vacuum_max_threshold', true), '-1')::float8 as maximum
  from pg_class c
  left join lateral pg_options_to_table(c.reloptions) o on true
  where c.relkind in ('r', 'm') and c.relpersistence <> 't'
  group by c.oid, c.reltuples
), seen as (
  select s.relid::regclass::text as name, s.n_dead_tup as dead, o.enabled,
         least(o.threshold + o.scale_factor * greatest(o.reltuples, 0),
               case when o.maximum >= 0 then o.maximum end) as trigger_at
  from pg_stat_user_tables s
  join options o on o.oid = s.relid
), judged as (
  select *, dead / greatest(trigger_at, 1) as ratio, dead > 10000 and dead > trigger_at or not enabled as suspect
  from seen
)
select t.examined, j.*
from (select count(*) as examined from judged) t
left join judged j on j.suspect
order by j.ratio desc

-- name: never_analyzed
-- Larger tables that the planner knows nothing about. Statistics may also have come with a restore (18), which leaves
-- no time of an ANALYZE; a role sees the statistics only of tables that it may read.
with seen as (
  select s.relid::regclass::text as name, s.n_live_tup as live,
         s.n_live_tup > 10000 and s.last_analyze is null and s.last_autoanalyze is null
           and not (has_table_privilege(s.relid, 'select')
                    and exists (select from pg_stats p where p.schemaname = s.schemaname and p.tablename = s.relname))
           as suspect
  from pg_stat_user_tables s
)
select t.examined, j.*
from (select count(*) as examined from seen) t
left join seen j on j.suspect
order by j.live desc
