-- The ground the tables stand on: a schema of their own, the application's role, ids, and what CHECKs share.

-- Lets a GIN index begin with organization_id.
create extension if not exists btree_gin;

create schema pliers;
comment on schema pliers is 'The Pliers form platform.';

-- Privileges go to a group role; the application's login becomes a member: grant pliers_app to <login>.
-- Roles belong to the cluster, so another database may have made it already (or be making it right now).
do $$
begin
    if not exists (select from pg_roles where rolname = 'pliers_app') then
        create role pliers_app nologin;
    end if;
exception
    when duplicate_object or unique_violation then null;
end
$$;

grant usage on schema pliers to pliers_app;

-- PostgreSQL 18 has UUIDv7 built in. Before that: 48 bits of milliseconds, the version, the microseconds as a
-- fraction of 4096 (RFC 9562, section 6.2, method 3), and the random tail and variant of a UUIDv4.
do $$
begin
    if current_setting('server_version_num')::integer >= 180000 then
        create function pliers.uuid7() returns uuid
            language sql volatile parallel safe
            return uuidv7();
    else
        create function pliers.uuid7() returns uuid
            language sql volatile parallel safe
            return (
                select encode(
                    overlay(
                        uuid_send(gen_random_uuid())
                        placing int8send((us / 1000 << 16) | 28672 | (us % 1000 * 4096 / 1000)) -- 28672 = 0x7000
                        from 1 for 8
                    ),
                    'hex'
                )::uuid
                from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as us) as clock
            );
    end if;
end
$$;
comment on function pliers.uuid7() is
    'A new id: UUID version 7, so ids of one session sort in the order they were made.';

-- A CHECK lets a row pass when it comes out as NULL; IS TRUE makes "unknown" a refusal.
create function pliers.is_slug(value text) returns boolean
    language sql immutable parallel safe
    return (length(value) <= 63 and value ~ '^[a-z0-9]+(-[a-z0-9]+)*$') is true;
comment on function pliers.is_slug(text) is
    'Whether a text can stand in a URL: 1 to 63 lower-case letters, digits and single hyphens between them.';

create function pliers.is_keyed_list(list jsonb) returns boolean
    language sql immutable parallel safe
    return (
        case
            when jsonb_typeof(list) = 'array' then (
                select count(*) = count(distinct item ->> 'key')
                    and count(*) = count(*) filter (
                        where item ->> 'key' ~ '^[a-z][a-z0-9_]{0,62}$'
                            and jsonb_typeof(item -> 'key') = 'string'
                            and jsonb_typeof(item -> 'type') = 'string'
                    )
                from jsonb_array_elements(list) as item
            )
        end
    ) is true;
comment on function pliers.is_keyed_list(jsonb) is
    'Whether a JSON value is an array of objects that each have a type and a key of their own; '
    'the shape of a form''s fields and of a workflow''s steps.';
