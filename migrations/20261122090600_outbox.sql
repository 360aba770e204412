-- Messages to other systems, written in the transaction that causes them and sent afterwards, at least once.

create table pliers.outbox (
    organization_id  uuid        not null,
    id               uuid        not null default pliers.uuid7(),
    topic            text        not null,
    payload          jsonb       not null,
    attempts         integer     not null default 0,
    available_at     timestamptz not null default now(),
    lease_owner      text,
    lease_until      timestamptz,
    last_error       text,
    failed_at        timestamptz,
    created_at       timestamptz not null default now(),
    constraint outbox_pkey primary key (organization_id, id),
    constraint outbox_organization_id_fkey foreign key (organization_id) references pliers.organizations (id),
    constraint outbox_topic_format check (topic ~ '^[a-z][a-z_]*(\.[a-z][a-z_]*)*$'),
    constraint outbox_payload_object check (jsonb_typeof(payload) = 'object'),
    constraint outbox_attempts_not_negative check (attempts >= 0),
    constraint outbox_lease_complete check ((lease_owner is null) = (lease_until is null)),
    constraint outbox_failed_has_error check (failed_at is null or last_error is not null)
);
create index outbox_available_idx on pliers.outbox (available_at) where failed_at is null;
comment on table pliers.outbox is 'Messages still to be sent; a row goes when its message is delivered.';
comment on column pliers.outbox.organization_id is 'The tenant.';
comment on column pliers.outbox.id is 'Id of the message; receivers use it to drop repeats.';
comment on column pliers.outbox.topic is 'Where it goes, such as webhook or email.invitation.';
comment on column pliers.outbox.payload is 'The message, an object.';
comment on column pliers.outbox.attempts is 'How often sending was tried.';
comment on column pliers.outbox.available_at is 'Not to be sent before; moves on after each failure.';
comment on column pliers.outbox.lease_owner is 'The sender that has it in hand.';
comment on column pliers.outbox.lease_until is 'Until when that sender may; afterwards anyone may take over.';
comment on column pliers.outbox.last_error is 'Why the last attempt failed.';
comment on column pliers.outbox.failed_at is 'When it was given up; null = still tried.';
comment on column pliers.outbox.created_at is 'When it was written.';

grant select, insert, update, delete on pliers.outbox to pliers_app;
