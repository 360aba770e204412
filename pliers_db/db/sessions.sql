-- name: sessions
-- Who is connected to this database: by program and state. Other roles' states are hidden from a plain role.
select coalesce(nullif(application_name, ''), '(unnamed)') as application, coalesce(state, '(hidden)') as state,
       count(*)::int as sessions
from pg_stat_activity
where datname = current_database() and coalesce(backend_type, 'client backend') = 'client backend'
group by 1, 2
order by 3 desc, 1, 2;

-- name: slots
-- How many sessions the server takes from ordinary roles, and how many there are in all databases.
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true)::int, 0) as slots,
       (select sum(numbackends)::int from pg_stat_database) as taken;
