-- Who there is. Organizations and users are small and global (reference tables on Citus): a slug and an email are
-- unique across all tenants. Everything else begins its keys with organization_id, and reaches organizations by a
-- foreign key of its own or of its parent.

create table pliers.organizations (
    id          uuid        not null default pliers.uuid7(),
    slug        text        not null,
    name        text        not null,
    status      text        not null default 'active',
    plan        text        not null default 'free',
    settings    jsonb       not null default '{}',
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    deleted_at  timestamptz,
    constraint organizations_pkey primary key (id),
    constraint organizations_slug_key unique (slug),
    constraint organizations_slug_format check (pliers.is_slug(slug)),
    constraint organizations_name_length check (length(btrim(name)) between 1 and 200),
    constraint organizations_status_known check (status in ('active', 'suspended')),
    constraint organizations_plan_known check (plan in ('free', 'team', 'business', 'enterprise')),
    constraint organizations_settings_object check (jsonb_typeof(settings) = 'object')
);
comment on table pliers.organizations is 'The tenants. Deleting one is soft; erasing it is a batch job, never a cascade.';
comment on column pliers.organizations.id is 'The tenant key: organization_id everywhere else.';
comment on column pliers.organizations.slug is 'Name in URLs, unique across all tenants; stays taken after deletion.';
comment on column pliers.organizations.name is 'Name as people write it.';
comment on column pliers.organizations.status is 'active | suspended (members may read, nobody may submit).';
comment on column pliers.organizations.plan is 'What they pay for: free | team | business | enterprise.';
comment on column pliers.organizations.settings is 'Preferences of the organization, an object; no secrets.';
comment on column pliers.organizations.created_at is 'When the organization signed up.';
comment on column pliers.organizations.updated_at is 'Last change; set by the application.';
comment on column pliers.organizations.deleted_at is 'Soft delete: since when it is hidden and waits to be erased.';

create table pliers.users (
    id                 uuid        not null default pliers.uuid7(),
    email              text        not null,
    email_verified_at  timestamptz,
    display_name       text        not null,
    locale             text        not null default 'en',
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now(),
    deleted_at         timestamptz,
    constraint users_pkey primary key (id),
    constraint users_email_key unique (email),
    constraint users_email_format check (
        email = lower(email) and length(email) <= 254 and email ~ '^[^@[:space:]]+@[^@[:space:]]+$'
    ),
    constraint users_display_name_length check (length(btrim(display_name)) between 1 and 200),
    constraint users_locale_format check (locale ~ '^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$')
);
comment on table pliers.users is 'People who sign in. Credentials live with the identity provider, not here.';
comment on column pliers.users.id is 'Identity of the person in every organization.';
comment on column pliers.users.email is 'Address they sign in with, lower case, unique; replaced when the person is erased.';
comment on column pliers.users.email_verified_at is 'When the person proved to own the address; null = not yet.';
comment on column pliers.users.display_name is 'Name shown to other members.';
comment on column pliers.users.locale is 'Language tag of the interface, such as en or pt-BR (BCP 47).';
comment on column pliers.users.created_at is 'When the account was made.';
comment on column pliers.users.updated_at is 'Last change; set by the application.';
comment on column pliers.users.deleted_at is 'Soft delete: since when the person can no longer sign in.';

create table pliers.memberships (
    organization_id  uuid        not null,
    user_id          uuid        not null,
    role             text        not null default 'viewer',
    status           text        not null default 'invited',
    invited_by       uuid,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    constraint memberships_pkey primary key (organization_id, user_id),
    constraint memberships_organization_id_fkey foreign key (organization_id) references pliers.organizations (id),
    constraint memberships_user_id_fkey foreign key (user_id) references pliers.users (id) on delete cascade,
    constraint memberships_invited_by_fkey foreign key (invited_by) references pliers.users (id) on delete set null,
    constraint memberships_role_known check (role in ('owner', 'admin', 'editor', 'viewer')),
    constraint memberships_status_known check (status in ('invited', 'active', 'suspended'))
);
create index memberships_user_id_idx on pliers.memberships (user_id);
create index memberships_invited_by_idx on pliers.memberships (invited_by);
comment on table pliers.memberships is 'Which user belongs to which organization, and what they may do there.';
comment on column pliers.memberships.organization_id is 'The tenant.';
comment on column pliers.memberships.user_id is 'The member; goes when the user goes.';
comment on column pliers.memberships.role is 'owner | admin | editor (forms and workflows) | viewer.';
comment on column pliers.memberships.status is 'invited | active | suspended.';
comment on column pliers.memberships.invited_by is 'Who invited them; null once that user is gone.';
comment on column pliers.memberships.created_at is 'When they were invited.';
comment on column pliers.memberships.updated_at is 'Last change; set by the application.';

grant select, insert, update on pliers.organizations, pliers.users to pliers_app;
grant select, insert, update, delete on pliers.memberships to pliers_app;
