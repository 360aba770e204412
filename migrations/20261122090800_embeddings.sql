-- Vectors for search by meaning. The only migration that needs pgvector.

create extension if not exists vector;

do $$
declare
    installed text := (select extversion from pg_extension where extname = 'vector');
begin
    if string_to_array(regexp_replace(installed, '[^0-9.].*', ''), '.')::integer[] < array[0, 7] then
        raise exception 'pgvector % is too old: halfvec needs 0.7', installed
            using errcode = 'feature_not_supported', hint = 'alter extension vector update';
    end if;
end
$$;

create table pliers.embeddings (
    organization_id  uuid        not null,
    subject_type     text        not null,
    subject_id       uuid        not null,
    model            text        not null,
    chunk            integer     not null default 0,
    content_sha256   bytea       not null,
    embedding        vector(384) not null,
    created_at       timestamptz not null default now(),
    constraint embeddings_pkey primary key (organization_id, subject_type, subject_id, model, chunk),
    constraint embeddings_organization_id_fkey foreign key (organization_id) references pliers.organizations (id),
    constraint embeddings_subject_type_format check (subject_type ~ '^[a-z][a-z_]*$'),
    constraint embeddings_model_length check (length(model) between 1 and 100),
    constraint embeddings_chunk_not_negative check (chunk >= 0),
    constraint embeddings_content_sha256_length check (octet_length(content_sha256) = 32)
);
-- Search within a tenant is exact: "order by embedding <=> $1" reads the tenant's rows by the primary key, and no
-- approximate index can take its place: filtered by tenant, a shared HNSW index returns too few neighbours. Approximate
-- search, across tenants or in a very large one, is asked for by the cast: order by embedding::halfvec(384) <=> $1, together
-- with the model and hnsw.iterative_scan = relaxed_order. halfvec halves the index. One index per model.
create index embeddings_minilm_idx on pliers.embeddings using hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)
    where model = 'all-MiniLM-L6-v2';
comment on table pliers.embeddings is 'Vectors of texts, to find forms and submissions by meaning.';
comment on column pliers.embeddings.organization_id is 'The tenant.';
comment on column pliers.embeddings.subject_type is 'What the text belongs to, such as form or submission.';
comment on column pliers.embeddings.subject_id is 'Which one. No foreign key: vectors can be made anew at any time.';
comment on column pliers.embeddings.model is 'The model that made the vector; vectors of two models can''t be compared.';
comment on column pliers.embeddings.chunk is 'Part of a long text: 0, 1, 2…';
comment on column pliers.embeddings.content_sha256 is 'SHA-256 of the text: unchanged text need not be embedded again.';
comment on column pliers.embeddings.embedding is 'The vector, for cosine distance (<=>).';
comment on column pliers.embeddings.created_at is 'When it was made.';

grant select, insert, update, delete on pliers.embeddings to pliers_app;
