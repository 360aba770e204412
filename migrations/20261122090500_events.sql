-- The journal: what happened, to what, by whom. Written by the application in the transaction that did it.
-- Monthly partitions, so that old months are dropped, not deleted; the default partition catches what has none.

create table pliers.events (
    organization_id  uuid        not null,
    id               uuid        not null default pliers.uuid7(),
    occurred_at      timestamptz not null default now(),
    type             text        not null,
    actor_type       text        not null,
    actor_id         uuid,
    subject_type     text        not null,
    subject_id       uuid        not null,
    payload          jsonb       not null default '{}',
    request_id       text,
    constraint events_pkey primary key (organization_id, id, occurred_at),
    constraint events_organization_id_fkey foreign key (organization_id) references pliers.organizations (id),
    constraint events_type_format check (type ~ '^[a-z][a-z_]*\.[a-z][a-z_]*$'),
    constraint events_actor_type_known check (actor_type in ('user', 'respondent', 'workflow', 'api_key', 'system')),
    constraint events_actor_has_id check ((actor_type in ('system', 'respondent')) or actor_id is not null),
    constraint events_subject_type_format check (subject_type ~ '^[a-z][a-z_]*$'),
    constraint events_payload_object check (jsonb_typeof(payload) = 'object'),
    constraint events_request_id_length check (length(request_id) between 1 and 200)
) partition by range (occurred_at);
-- The history of one thing.
create index events_subject_idx on pliers.events (organization_id, subject_type, subject_id, occurred_at desc);
-- A window of time across all tenants, for exports: small, because rows come in order of time.
create index events_occurred_at_idx on pliers.events using brin (occurred_at);
comment on table pliers.events is 'Journal of what happened. Append-only: the application may insert and read, nothing else.';
comment on column pliers.events.organization_id is 'The tenant.';
comment on column pliers.events.id is 'Id of the event; a tenant''s events sort by it.';
comment on column pliers.events.occurred_at is 'When it happened; chooses the partition.';
comment on column pliers.events.type is 'What happened: noun.verb, such as submission.accepted.';
comment on column pliers.events.actor_type is 'Who did it: user | respondent | workflow | api_key | system.';
comment on column pliers.events.actor_id is 'Which one; null for the system and for anonymous respondents. No foreign key: the journal outlives them.';
comment on column pliers.events.subject_type is 'What it happened to, such as form or submission.';
comment on column pliers.events.subject_id is 'Which one. No foreign key: the journal outlives it.';
comment on column pliers.events.payload is 'Details by type of event, an object.';
comment on column pliers.events.request_id is 'The request that caused it, to find the rest in the logs.';

create table pliers.events_default partition of pliers.events default;
comment on table pliers.events_default is 'Events of months that have no partition; should stay empty.';

create function pliers.create_event_partitions(first_month date, months integer) returns setof text
    language plpgsql
    set timezone to 'UTC' -- months begin at the same instant whoever calls
as $$
declare
    month timestamptz;
    partition text;
begin
    for month in
        select date_trunc('month', first_month::timestamptz) + n * interval '1 month'
        from generate_series(0, months - 1) as n
    loop
        partition := to_char(month, '"events_"YYYY_MM');
        continue when to_regclass(format('pliers.%I', partition)) is not null;
        execute format(
            'create table pliers.%I (like pliers.events including defaults including constraints including comments)',
            partition
        );
        -- Attaching refuses while the default partition holds rows of this month.
        execute format(
            'with late as (delete from pliers.events_default where occurred_at >= %2$L and occurred_at < %3$L returning *)'
            ' insert into pliers.%1$I select * from late',
            partition, month, month + interval '1 month'
        );
        execute format(
            'alter table pliers.events attach partition pliers.%I for values from (%L) to (%L)',
            partition, month, month + interval '1 month'
        );
        execute format('comment on table pliers.%I is %L', partition, to_char(month, '"Events of "YYYY-MM" (UTC)."'));
        return next partition;
    end loop;
end
$$;
comment on function pliers.create_event_partitions(date, integer) is
    'Creates the monthly partitions of events that are missing from first_month on, and moves rows of those months '
    'out of the default partition. Returns the names of those it made. For the owner: call it from a migration.';
revoke execute on function pliers.create_event_partitions(date, integer) from public;

-- A fixed window, so that every database gets the same partitions. The next migration of this kind adds the next year.
select pliers.create_event_partitions('2026-07-01', 18);

grant select, insert on pliers.events to pliers_app;
