-- Runs by number: what is stored per record refers to them in 8 bytes.
create table run_number (
    number bigserial primary key,
    run text not null unique
);

-- (source identity, source object, target identity, target object): what keys are mapped for.
create table link (
    id bigserial primary key,
    tenant text not null,
    source_identity text not null,
    source_object text not null,
    target_identity text not null,
    target_object text not null,
    unique (tenant, source_identity, source_object, target_identity, target_object)
);

-- The id map. A row without a target key is reserved by a journal entry.
create table ledger (
    link bigint not null,
    source_key text collate "C" not null,
    target_key text collate "C",
    entry bigint not null,
    run_number bigint not null,
    primary key (link, source_key)
) with (fillfactor = 80);

-- A second source key for one target record is an error, not a silent merge.
create unique index ledger_target on ledger (link, target_key) where target_key is not null;

-- Per link and sync: what was last written of a record, as keyed hashes.
create table content (
    link bigint not null,
    sync text collate "C" not null,
    source_key text collate "C" not null,
    -- of the masked row, references as source keys; deferred references apart
    hash bytea not null,
    deferred_hash bytea,
    -- of the row as it was sent, and whether that was an update
    sent bytea not null,
    sent_update boolean not null,
    -- of the references as target keys, those of pass 2 apart
    refs bytea not null,
    deferred_refs bytea not null,
    -- runs that last wrote and last saw it
    written bigint not null,
    seen bigint not null,
    primary key (link, sync, source_key)
) with (fillfactor = 90);

-- The claim on a batch: to which journal entries it belongs.
create table claim (
    run text not null,
    object text not null,
    partition int not null,
    generation int not null,
    seq int not null,
    part int not null,
    parts int not null,
    state text not null default 'open' check (state in ('open', 'done')),
    attempts int not null default 0,
    entries bigint[] not null default '{}',
    dead bigint not null default 0,
    primary key (run, object, partition, generation, seq, part)
);

create table partition_end (
    run text not null,
    object text not null,
    partition int not null,
    generation int not null,
    batches int not null,
    records bigint not null,
    primary key (run, object, partition, generation)
);

-- The journal: one entry per target job. Intent is committed before the job exists, its id before the upload.
create table journal (
    entry bigserial primary key,
    run text not null,
    object text not null,
    step text not null,
    link bigint not null,
    state text not null default 'intent' check (state in ('intent', 'created', 'settled')),
    -- JSON of connect::Operation and of the job's columns
    operation jsonb not null,
    columns jsonb not null,
    job text,
    -- per row, packed: digests of the sent form (16 bytes each) …
    digests bytea not null,
    source_keys text[] not null,
    -- … and what the ledger keeps once the row is written (16 bytes each)
    hashes bytea not null,
    refs bytea not null,
    created_at timestamptz not null default clock_timestamp()
);
alter table journal alter column digests set storage external;
alter table journal alter column hashes set storage external;
alter table journal alter column refs set storage external;
create index journal_open on journal (run, object) where state <> 'settled';

-- Rows whose references are written in pass 2. `targets` are source keys in the order of the plan's deferred fields; an
-- empty text is null.
create table deferred (
    run_number bigint not null,
    link bigint not null,
    source_key text collate "C" not null,
    hash bytea not null,
    targets text[] not null,
    primary key (run_number, link, source_key)
);

-- Records that the target refused (or that wait for a parent that never came), sealed.
create table refusal (
    run_number bigint not null,
    link bigint not null,
    source_key text collate "C" not null,
    step text not null,
    kind text not null check (kind in ('refused', 'parked', 'mismatch')),
    code text not null,
    native text not null,
    fields text not null,
    sealed bytea,
    primary key (run_number, link, source_key, step)
);

-- Fingerprints of the originals of a sample, for the leak check.
create table sample (
    run_number bigint not null,
    link bigint not null,
    source_key text collate "C" not null,
    fingerprints jsonb not null,
    primary key (run_number, link, source_key)
);

-- The books of an object in a run; every number is added in the transaction that makes it true.
create table object_count (
    run text not null,
    object text not null,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    deleted bigint not null default 0,
    references_resolved bigint not null default 0,
    references_deferred bigint not null default 0,
    references_nulled bigint not null default 0,
    jobs bigint not null default 0,
    api_calls bigint not null default 0,
    primary key (run, object)
);
