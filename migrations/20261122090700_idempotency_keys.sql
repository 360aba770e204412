-- A request that is sent twice acts once: the first insert wins, the second reads its answer.

create table pliers.idempotency_keys (
    organization_id  uuid        not null,
    scope            text        not null,
    key              text        not null,
    fingerprint      bytea       not null,
    response         jsonb,
    created_at       timestamptz not null default now(),
    completed_at     timestamptz,
    expires_at       timestamptz not null default now() + interval '24 hours',
    constraint idempotency_keys_pkey primary key (organization_id, scope, key),
    constraint idempotency_keys_organization_id_fkey foreign key (organization_id)
        references pliers.organizations (id),
    constraint idempotency_keys_scope_format check (scope ~ '^[a-z][a-z_]*\.[a-z][a-z_]*$'),
    constraint idempotency_keys_key_length check (length(key) between 1 and 200),
    constraint idempotency_keys_fingerprint_length check (octet_length(fingerprint) = 32),
    constraint idempotency_keys_completed_has_response check ((completed_at is null) = (response is null)),
    constraint idempotency_keys_expires_later check (expires_at > created_at)
);
create index idempotency_keys_expires_at_idx on pliers.idempotency_keys (expires_at);
comment on table pliers.idempotency_keys is 'Requests already seen, with their answers, until they expire.';
comment on column pliers.idempotency_keys.organization_id is 'The tenant.';
comment on column pliers.idempotency_keys.scope is 'The operation: noun.verb, such as submission.create.';
comment on column pliers.idempotency_keys.key is 'The key that the client sent.';
comment on column pliers.idempotency_keys.fingerprint is
    'SHA-256 of the request: the same key with another request is an error of the client.';
comment on column pliers.idempotency_keys.response is 'The answer to repeat; null while the first request is at work.';
comment on column pliers.idempotency_keys.created_at is 'When the first request came.';
comment on column pliers.idempotency_keys.completed_at is 'When it was answered.';
comment on column pliers.idempotency_keys.expires_at is 'When the key may be swept away.';

grant select, insert, update, delete on pliers.idempotency_keys to pliers_app;
