-- A form has one draft, which people edit, and published versions, which never change: a submission points to the
-- version it answered, so it can be read and checked for as long as it exists.

create table pliers.forms (
    organization_id    uuid        not null,
    id                 uuid        not null default pliers.uuid7(),
    slug               text        not null,
    title              text        not null,
    description        text        not null default '',
    status             text        not null default 'draft',
    definition         jsonb       not null default '{"fields": []}',
    published_version  integer,
    retention_days     integer,
    revision           integer     not null default 1,
    created_by         uuid,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now(),
    deleted_at         timestamptz,
    search             tsvector    not null generated always as (
        to_tsvector('simple', title || ' ' || description)
    ) stored,
    constraint forms_pkey primary key (organization_id, id),
    constraint forms_organization_id_fkey foreign key (organization_id) references pliers.organizations (id),
    constraint forms_created_by_fkey foreign key (created_by) references pliers.users (id) on delete set null,
    constraint forms_slug_format check (pliers.is_slug(slug)),
    constraint forms_title_length check (length(btrim(title)) between 1 and 200),
    constraint forms_description_length check (length(description) <= 10000),
    constraint forms_status_known check (status in ('draft', 'published', 'closed', 'archived')),
    constraint forms_published_has_version check (
        status not in ('published', 'closed') or published_version is not null
    ),
    constraint forms_definition_valid check (pliers.is_keyed_list(definition -> 'fields')),
    constraint forms_retention_days_range check (retention_days between 1 and 36500),
    constraint forms_revision_positive check (revision > 0)
);
-- A deleted form gives its slug back.
create unique index forms_slug_key on pliers.forms (organization_id, slug) where deleted_at is null;
create index forms_recent_idx on pliers.forms (organization_id, updated_at desc) where deleted_at is null;
create index forms_search_idx on pliers.forms using gin (organization_id, search) where deleted_at is null;
create index forms_created_by_idx on pliers.forms (created_by);
comment on table pliers.forms is 'Forms: the working draft, and which published version is live.';
comment on column pliers.forms.organization_id is 'The tenant.';
comment on column pliers.forms.id is 'Id of the form in its organization.';
comment on column pliers.forms.slug is 'Name in URLs, unique among the organization''s forms that are not deleted.';
comment on column pliers.forms.title is 'Heading that respondents see.';
comment on column pliers.forms.description is 'Text below the heading; may be empty.';
comment on column pliers.forms.status is
    'draft | published (takes submissions) | closed (takes none) | archived (hidden from lists).';
comment on column pliers.forms.definition is
    'The draft: {"fields": [{"key", "type", …}, …], …}; keys are unique. Publishing copies it to form_versions.';
comment on column pliers.forms.published_version is 'The version respondents get; null = never published.';
comment on column pliers.forms.retention_days is
    'Submissions are erased this many days after they came in; null = kept until somebody deletes them.';
comment on column pliers.forms.revision is
    'Optimistic lock of the draft: update … set revision = revision + 1 where revision = <the one read>.';
comment on column pliers.forms.created_by is 'Who made the form; null once that user is gone.';
comment on column pliers.forms.created_at is 'When the form was made.';
comment on column pliers.forms.updated_at is 'Last change; set by the application.';
comment on column pliers.forms.deleted_at is 'Soft delete: since when the form waits to be erased.';
comment on column pliers.forms.search is 'Words of title and description for full-text search, in no particular language.';

create table pliers.form_versions (
    organization_id    uuid        not null,
    form_id            uuid        not null,
    version            integer     not null,
    definition         jsonb       not null,
    definition_sha256  bytea       not null,
    published_at       timestamptz not null default now(),
    published_by       uuid,
    constraint form_versions_pkey primary key (organization_id, form_id, version),
    constraint form_versions_form_id_fkey foreign key (organization_id, form_id)
        references pliers.forms (organization_id, id),
    constraint form_versions_published_by_fkey foreign key (published_by)
        references pliers.users (id) on delete set null,
    constraint form_versions_version_positive check (version > 0),
    constraint form_versions_definition_valid check (pliers.is_keyed_list(definition -> 'fields')),
    constraint form_versions_definition_sha256_length check (octet_length(definition_sha256) = 32)
);
create index form_versions_published_by_idx on pliers.form_versions (published_by);
comment on table pliers.form_versions is 'Published versions of forms. Immutable: the application may insert and read, nothing else.';
comment on column pliers.form_versions.organization_id is 'The tenant.';
comment on column pliers.form_versions.form_id is 'The form.';
comment on column pliers.form_versions.version is 'Counts 1, 2, 3… within the form.';
comment on column pliers.form_versions.definition is 'The form as respondents got it; same shape as forms.definition.';
comment on column pliers.form_versions.definition_sha256 is
    'SHA-256 of the definition as canonical JSON (RFC 8785): tells whether publishing would change anything.';
comment on column pliers.form_versions.published_at is 'When it was published.';
comment on column pliers.form_versions.published_by is 'Who published it; null once that user is gone.';

-- Deferred, because a form and its first version point to each other: within one transaction they may come in any order.
alter table pliers.forms
    add constraint forms_published_version_fkey foreign key (organization_id, id, published_version)
        references pliers.form_versions (organization_id, form_id, version)
        deferrable initially deferred;

grant select, insert, update, delete on pliers.forms to pliers_app;
grant select, insert on pliers.form_versions to pliers_app;
