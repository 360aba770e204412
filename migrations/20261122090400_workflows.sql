-- What happens after a submission: a workflow is a list of steps, a run is one execution of it.
-- Workers claim runs by a lease, in plain SQL that also works across shards:
--   update … set state = 'running', lease_owner = $w, lease_until = now() + $t, attempt = attempt + 1
--   where organization_id = $o and id = $i
--     and (state in ('queued', 'waiting') and next_attempt_at <= now() or state = 'running' and lease_until < now())

create table pliers.workflows (
    organization_id  uuid        not null,
    id               uuid        not null default pliers.uuid7(),
    form_id          uuid,
    name             text        not null,
    status           text        not null default 'draft',
    trigger_type     text        not null default 'submission',
    definition       jsonb       not null default '{"steps": []}',
    version          integer     not null default 1,
    created_by       uuid,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    deleted_at       timestamptz,
    constraint workflows_pkey primary key (organization_id, id),
    constraint workflows_organization_id_fkey foreign key (organization_id) references pliers.organizations (id),
    constraint workflows_form_id_fkey foreign key (organization_id, form_id)
        references pliers.forms (organization_id, id),
    constraint workflows_created_by_fkey foreign key (created_by) references pliers.users (id) on delete set null,
    constraint workflows_name_length check (length(btrim(name)) between 1 and 200),
    constraint workflows_status_known check (status in ('draft', 'active', 'paused', 'archived')),
    constraint workflows_trigger_type_known check (trigger_type in ('submission', 'schedule', 'manual')),
    constraint workflows_submission_has_form check (trigger_type <> 'submission' or form_id is not null),
    constraint workflows_definition_valid check (pliers.is_keyed_list(definition -> 'steps')),
    constraint workflows_version_positive check (version > 0)
);
create unique index workflows_name_key on pliers.workflows (organization_id, name) where deleted_at is null;
create index workflows_form_id_idx on pliers.workflows (organization_id, form_id);
create index workflows_created_by_idx on pliers.workflows (created_by);
comment on table pliers.workflows is 'What to do when something happens: an ordered list of steps.';
comment on column pliers.workflows.organization_id is 'The tenant.';
comment on column pliers.workflows.id is 'Id of the workflow in its organization.';
comment on column pliers.workflows.form_id is 'The form whose submissions start it; null for other triggers.';
comment on column pliers.workflows.name is 'Name, unique among the organization''s workflows that are not deleted.';
comment on column pliers.workflows.status is 'draft | active (starts runs) | paused | archived.';
comment on column pliers.workflows.trigger_type is 'What starts a run: submission | schedule | manual.';
comment on column pliers.workflows.definition is '{"steps": [{"key", "type", …}, …], …}; keys are unique.';
comment on column pliers.workflows.version is 'Counts the changes of the definition; a run remembers which one it follows.';
comment on column pliers.workflows.created_by is 'Who made it; null once that user is gone.';
comment on column pliers.workflows.created_at is 'When it was made.';
comment on column pliers.workflows.updated_at is 'Last change; set by the application.';
comment on column pliers.workflows.deleted_at is 'Soft delete: since when it is hidden; its runs stay.';

create table pliers.workflow_runs (
    organization_id   uuid        not null,
    id                uuid        not null default pliers.uuid7(),
    workflow_id       uuid        not null,
    workflow_version  integer     not null,
    definition        jsonb       not null,
    submission_id     uuid,
    state             text        not null default 'queued',
    context           jsonb       not null default '{}',
    attempt           integer     not null default 0,
    next_attempt_at   timestamptz default now(),
    lease_owner       text,
    lease_until       timestamptz,
    idempotency_key   text,
    error             text,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    started_at        timestamptz,
    finished_at       timestamptz,
    constraint workflow_runs_pkey primary key (organization_id, id),
    constraint workflow_runs_workflow_id_fkey foreign key (organization_id, workflow_id)
        references pliers.workflows (organization_id, id),
    constraint workflow_runs_submission_id_fkey foreign key (organization_id, submission_id)
        references pliers.submissions (organization_id, id),
    constraint workflow_runs_idempotency_key_key unique (organization_id, workflow_id, idempotency_key),
    constraint workflow_runs_workflow_version_positive check (workflow_version > 0),
    constraint workflow_runs_definition_valid check (pliers.is_keyed_list(definition -> 'steps')),
    constraint workflow_runs_state_known check (
        state in ('queued', 'running', 'waiting', 'completed', 'failed', 'canceled')
    ),
    constraint workflow_runs_context_object check (jsonb_typeof(context) = 'object'),
    constraint workflow_runs_attempt_not_negative check (attempt >= 0),
    constraint workflow_runs_queued_has_time check (state <> 'queued' or next_attempt_at is not null),
    constraint workflow_runs_running_has_lease check (
        (state = 'running') = (lease_owner is not null) and (state = 'running') = (lease_until is not null)
    ),
    constraint workflow_runs_running_has_started check (state <> 'running' or started_at is not null),
    constraint workflow_runs_finished_has_time check (
        (state in ('completed', 'failed', 'canceled')) = (finished_at is not null)
    ),
    constraint workflow_runs_failed_has_error check (state <> 'failed' or error is not null),
    constraint workflow_runs_idempotency_key_length check (length(idempotency_key) between 1 and 200)
);
-- What a worker looks for: runs that are due, and runs whose worker went silent.
create index workflow_runs_due_idx on pliers.workflow_runs (next_attempt_at) where state in ('queued', 'waiting');
create index workflow_runs_lease_idx on pliers.workflow_runs (lease_until) where state = 'running';
create index workflow_runs_list_idx on pliers.workflow_runs (organization_id, workflow_id, id desc);
create index workflow_runs_submission_id_idx on pliers.workflow_runs (organization_id, submission_id);
comment on table pliers.workflow_runs is 'Executions of workflows; at the same time the queue that workers claim from.';
comment on column pliers.workflow_runs.organization_id is 'The tenant.';
comment on column pliers.workflow_runs.id is 'Id of the run in its organization.';
comment on column pliers.workflow_runs.workflow_id is 'The workflow.';
comment on column pliers.workflow_runs.workflow_version is 'The version of the workflow when the run began.';
comment on column pliers.workflow_runs.definition is 'The steps as they were then: later edits don''t change a run.';
comment on column pliers.workflow_runs.submission_id is 'The submission that started it; null for other triggers.';
comment on column pliers.workflow_runs.state is
    'queued | running (leased) | waiting (for a time or an answer) | completed | failed | canceled.';
comment on column pliers.workflow_runs.context is 'What the steps know so far, an object.';
comment on column pliers.workflow_runs.attempt is 'How often a worker has taken it up.';
comment on column pliers.workflow_runs.next_attempt_at is 'Not before this time; null while waiting for an answer or when over.';
comment on column pliers.workflow_runs.lease_owner is 'The worker that runs it; only while running.';
comment on column pliers.workflow_runs.lease_until is 'Until when that worker may; afterwards anyone may take over.';
comment on column pliers.workflow_runs.idempotency_key is 'What started it, so that the same cause starts one run only.';
comment on column pliers.workflow_runs.error is 'Why the last attempt failed.';
comment on column pliers.workflow_runs.created_at is 'When it was queued.';
comment on column pliers.workflow_runs.updated_at is 'Last change; set by the application.';
comment on column pliers.workflow_runs.started_at is 'When a worker first took it up.';
comment on column pliers.workflow_runs.finished_at is 'When it was completed, failed for good, or was canceled.';

create table pliers.workflow_run_steps (
    organization_id  uuid        not null,
    run_id           uuid        not null,
    seq              integer     not null,
    attempt          integer     not null,
    step_key         text        not null,
    step_type        text        not null,
    state            text        not null default 'running',
    input            jsonb,
    output           jsonb,
    error            text,
    started_at       timestamptz not null default now(),
    finished_at      timestamptz,
    constraint workflow_run_steps_pkey primary key (organization_id, run_id, seq, attempt),
    constraint workflow_run_steps_run_id_fkey foreign key (organization_id, run_id)
        references pliers.workflow_runs (organization_id, id) on delete cascade,
    constraint workflow_run_steps_seq_positive check (seq > 0),
    constraint workflow_run_steps_attempt_positive check (attempt > 0),
    constraint workflow_run_steps_step_key_format check (step_key ~ '^[a-z][a-z0-9_]{0,62}$'),
    constraint workflow_run_steps_state_known check (state in ('running', 'completed', 'failed', 'skipped')),
    constraint workflow_run_steps_finished_has_time check ((state <> 'running') = (finished_at is not null)),
    constraint workflow_run_steps_failed_has_error check (state <> 'failed' or error is not null)
);
comment on table pliers.workflow_run_steps is 'What each step of a run did, one row per attempt; goes with its run.';
comment on column pliers.workflow_run_steps.organization_id is 'The tenant.';
comment on column pliers.workflow_run_steps.run_id is 'The run.';
comment on column pliers.workflow_run_steps.seq is 'Position in the run: 1, 2, 3…';
comment on column pliers.workflow_run_steps.attempt is 'Which try of this step: 1, 2, 3…';
comment on column pliers.workflow_run_steps.step_key is 'Key of the step in the run''s definition.';
comment on column pliers.workflow_run_steps.step_type is 'Type of the step, such as email, webhook or approval.';
comment on column pliers.workflow_run_steps.state is 'running | completed | failed | skipped.';
comment on column pliers.workflow_run_steps.input is 'What the step was given.';
comment on column pliers.workflow_run_steps.output is 'What it gave back.';
comment on column pliers.workflow_run_steps.error is 'Why it failed.';
comment on column pliers.workflow_run_steps.started_at is 'When it began.';
comment on column pliers.workflow_run_steps.finished_at is 'When it ended; null while it runs.';

grant select, insert, update, delete on pliers.workflows, pliers.workflow_runs, pliers.workflow_run_steps to pliers_app;
