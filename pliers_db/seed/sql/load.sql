-- name: target
-- What must be known before anything is written.
select pg_is_in_recovery() as standby,
       current_setting('transaction_read_only') = 'on' as read_only,
       has_database_privilege(current_database(), 'temp') as can_stage,
       current_user::text as role

-- name: stage
-- A copy of the table's shape without its constraints; it lives as long as the transaction.
create temp table pliers_seed_stage on commit drop as
select 0 as "@row", 0 as "@shape", {columns} from {table} with no data

-- name: copy
copy pg_temp.pliers_seed_stage ("@row", "@shape", {columns}) from stdin

-- name: unstage
drop table pg_temp.pliers_seed_stage

-- name: compare
-- The staged rows that are there already, each with the columns in which it differs. Compared as text: every type
-- has one, and 1.0 is not 1.00.
select s."@row", array_remove(array[{differences}]::text[], null)
from pg_temp.pliers_seed_stage as s
join {table} as t on {match}

-- name: insert
-- What is missing, in the order of the seeds.
insert into {table} ({columns}) overriding system value
select {values}
from pg_temp.pliers_seed_stage as s
where s."@row" <= {last}
  and not exists (select from {table} as t where {match})
order by s."@row"

-- name: update
-- Bring rows that differ back to what the seeds say.
update {table} as t
set {assignments}
from pg_temp.pliers_seed_stage as s
where {match}
  and s."@row" = any({rows})

-- name: referring
-- Rows that still refer to staged rows.
select count(*)
from {child} as c join {table} as t on {links}
join pg_temp.pliers_seed_stage as s on {match}

-- name: export
-- The seeded rows of a table: those whose keys the files name, and those that were made.
select {what}
from {table} as t
where exists (select from pg_temp.pliers_seed_stage as s where {match})
   or {key} in (select unnest(keys) from pliers_seed.rows where relation = {relation})
order by {order}

-- name: delete
delete from {table} as t using pg_temp.pliers_seed_stage as s where {match}

-- name: advance
-- Let a sequence go on after the highest seeded number.
select setval({sequence}::regclass, m.top)
from (select max({column}) as top from {table}) as m
join pg_sequence as s on s.seqrelid = {sequence}::regclass and s.seqincrement > 0
where m.top > coalesce(pg_sequence_last_value({sequence}::regclass), 0)

-- name: counters
-- Rows that this transaction has written, by table.
select format('%s.%s', n.nspname, c.relname),
       s.n_tup_ins as inserted, s.n_tup_upd as updated, s.n_tup_del as deleted
from pg_stat_xact_all_tables as s
join pg_class as c on c.oid = s.relid
join pg_namespace as n on n.oid = c.relnamespace
where c.relpersistence <> 't'
  and n.nspname !~ '^pg_'
  and s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0
