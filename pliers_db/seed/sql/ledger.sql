-- name: exists
select to_regclass('pliers_seed.rows') is not null

-- name: create
-- What was made, by table: the keys of the rows and a hash of each, so that they can be told from those of others.
create schema if not exists pliers_seed;
comment on schema pliers_seed is 'Which rows pliers-db seed has made (pliers-db seed status)';
create table if not exists pliers_seed.rows (
    relation text not null,
    first bigint not null check (first >= 0),
    seed bigint not null,
    generator_version integer not null,
    as_of timestamptz not null,
    spec text not null,
    made_at timestamptz not null default now(),
    keys text[] not null,
    hashes bigint[] not null,
    primary key (relation, first),
    check (cardinality(keys) = cardinality(hashes))
);

-- name: read
select relation, sum(cardinality(keys))::bigint as rows, max(first + cardinality(keys))::bigint as next,
       min(seed) as seed, max(generator_version) as generator_version, min(as_of) as as_of,
       (array_agg(spec order by first desc))[1] as spec, max(made_at) as made_at
from pliers_seed.rows
group by relation
order by relation

-- name: record
-- Rows that were just written, as they are now that all triggers have run.
insert into pliers_seed.rows (relation, first, seed, generator_version, as_of, spec, keys, hashes)
select {relation}, {first}, {seed}, {version}, {as_of}, {spec},
       array_agg(k.key order by k.place), array_agg(hashtextextended((t.*)::text, 0) order by k.place)
from unnest({keys}::text[]) with ordinality as k (key, place)
join {table} as t on {key} = k.key

-- name: compare
-- The rows of a table that were made: how many are there, which are gone and which are other than they were made.
select count(*) as made,
       count(*) filter (where n.key is null) as gone,
       coalesce((array_agg(l.key order by l.key) filter (where n.hash <> l.hash))[:100], '{{}}') as changed,
       count(*) filter (where n.hash <> l.hash) as differing,
       coalesce(sum(n.hash::numeric), 0)::text as digest
from (
    select u.key, u.hash
    from pliers_seed.rows as r cross join unnest(r.keys, r.hashes) as u (key, hash)
    where r.relation = {relation}
) as l
left join (select {key} as key, hashtextextended((t.*)::text, 0) as hash from {table} as t) as n on n.key = l.key

-- name: delete
-- The made rows of one table, as a part of a statement that deletes those of several.
delete from {table} as t
using (select unnest(keys) as key from pliers_seed.rows where relation = {relation}) as l
where {key} = l.key
returning 1

-- name: strangers
-- Rows of others that would go, or lose their reference, with the made rows of a table.
select count(*)
from {child} as c
join {table} as t on {match}
where {key} in (select unnest(keys) from pliers_seed.rows where relation = {relation})
  and not exists (
      select from pliers_seed.rows as r where r.relation = {child_relation} and {child_key} = any (r.keys)
  )

-- name: forget
delete from pliers_seed.rows where relation = any ({relations})
