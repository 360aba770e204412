-- What people filled in.

create table pliers.submissions (
    organization_id  uuid        not null,
    id               uuid        not null default pliers.uuid7(),
    form_id          uuid        not null,
    form_version     integer     not null,
    status           text        not null default 'partial',
    data             jsonb       not null default '{}',
    meta             jsonb       not null default '{}',
    respondent_id    uuid,
    revision         integer     not null default 1,
    submitted_at     timestamptz,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    deleted_at       timestamptz,
    constraint submissions_pkey primary key (organization_id, id),
    -- lint: ignore PL040 versions are never deleted, and the list index serves the rows that are not deleted
    constraint submissions_form_version_fkey foreign key (organization_id, form_id, form_version)
        references pliers.form_versions (organization_id, form_id, version),
    constraint submissions_respondent_id_fkey foreign key (respondent_id)
        references pliers.users (id) on delete set null,
    constraint submissions_status_known check (status in ('partial', 'submitted', 'accepted', 'rejected', 'spam')),
    constraint submissions_submitted_has_time check ((status = 'partial') = (submitted_at is null)),
    constraint submissions_data_object check (jsonb_typeof(data) = 'object'),
    constraint submissions_data_size check (octet_length(data::text) <= 1048576),
    constraint submissions_meta_object check (jsonb_typeof(meta) = 'object'),
    constraint submissions_revision_positive check (revision > 0)
);
-- A form's list, newest first, and its next page: where id < <last one seen> order by id desc.
create index submissions_list_idx on pliers.submissions (organization_id, form_id, id desc) where deleted_at is null;
-- jsonb_path_ops: smaller than the default, and all that data @> '{…}' needs.
create index submissions_data_idx on pliers.submissions using gin (organization_id, data jsonb_path_ops);
create index submissions_respondent_id_idx on pliers.submissions (respondent_id) where respondent_id is not null;
comment on table pliers.submissions is 'Answers to a form, each tied to the published version that was answered.';
comment on column pliers.submissions.organization_id is 'The tenant.';
comment on column pliers.submissions.id is 'Id of the submission; its order is the order of arrival.';
comment on column pliers.submissions.form_id is 'The form.';
comment on column pliers.submissions.form_version is 'The version of the form that was answered; data is checked against it.';
comment on column pliers.submissions.status is
    'partial (saved, not sent) | submitted | accepted | rejected | spam.';
comment on column pliers.submissions.data is 'The answers by field key, an object of at most 1 MiB as text.';
comment on column pliers.submissions.meta is 'How it came in: source, language, duration, … an object.';
comment on column pliers.submissions.respondent_id is 'The signed-in user who answered; null for anybody else.';
comment on column pliers.submissions.revision is 'Optimistic lock: a partial submission may be saved from two windows.';
comment on column pliers.submissions.submitted_at is 'When it was sent; null as long as it is partial. Retention counts from here.';
comment on column pliers.submissions.created_at is 'When the respondent began.';
comment on column pliers.submissions.updated_at is 'Last change; set by the application.';
comment on column pliers.submissions.deleted_at is 'Soft delete: since when it waits to be erased.';

grant select, insert, update, delete on pliers.submissions to pliers_app;
