-- The monitor's books. Every statement that writes here is commutative and idempotent, so facts may come twice, late
-- and in any order. `cursor` rises with every fact that was new; watchers resume behind it.

create table run (
    tenant          text        not null,
    run             text        not null,
    sync            text        not null default '',
    sync_version    bigint      not null default 0,
    status          text        not null default 'pending',
    -- of the status that stands here; -1 before the first one
    status_version  bigint      not null default -1,
    terminal        boolean     not null default false,
    failure_code    text        not null default '',
    failure_message text        not null default '',
    started_at      timestamptz,
    finished_at     timestamptz,
    projected_records bigint    not null default 0,
    cursor          bigint      not null default 0,
    -- when the last new fact was stored, by the database's clock
    touched_at      timestamptz not null default clock_timestamp(),
    closed          boolean     not null default false,
    primary key (tenant, run)
);
create index run_open on run (touched_at) where terminal and not closed;

-- The history: each fact once, as it came.
create table fact (
    tenant  text        not null,
    run     text        not null,
    digest  bytea       not null,
    at      timestamptz not null,
    kind    text        not null,
    body    bytea       not null,
    stored_at timestamptz not null default clock_timestamp(),
    primary key (tenant, run, digest)
);
create index fact_age on fact (stored_at);

create table outline (
    tenant  text    not null,
    run     text    not null,
    object  text    not null,
    -- in load order
    place   integer not null,
    primary key (tenant, run, object)
);

create table step (
    tenant      text    not null,
    run         text    not null,
    object      text    not null,
    step        text    not null,
    done        boolean not null default false,
    with_errors boolean not null default false,
    yielded_at  timestamptz,
    reason      text    not null default '',
    failed_at   timestamptz,
    code        text    not null default '',
    message     text    not null default '',
    primary key (tenant, run, object, step)
);

create table stage_totals (
    tenant    text        not null,
    run       text        not null,
    stage     text        not null,
    object    text        not null,
    batches   bigint      not null,
    records   bigint      not null,
    bytes     bigint      not null,
    api_calls bigint      not null,
    expected  bigint      not null,
    at        timestamptz not null,
    primary key (tenant, run, stage, object)
);

create table load_totals (
    tenant    text        not null,
    run       text        not null,
    object    text        not null,
    read      bigint      not null,
    inserted  bigint      not null,
    updated   bigint      not null,
    unchanged bigint      not null,
    filtered  bigint      not null,
    refused   bigint      not null,
    parked    bigint      not null,
    dead      bigint      not null,
    deleted   bigint      not null,
    references_resolved bigint not null,
    references_deferred bigint not null,
    references_nulled   bigint not null,
    jobs      bigint      not null,
    api_calls bigint      not null,
    at        timestamptz not null,
    primary key (tenant, run, object)
);

create table refused (
    tenant     text        not null,
    run        text        not null,
    object     text        not null,
    code       text        not null,
    native     text        not null,
    fields     text        not null,
    kind       text        not null,
    count      bigint      not null,
    sample_ids text[]      not null,
    at         timestamptz not null,
    primary key (tenant, run, object, code, native, fields, kind)
);

create table mask_totals (
    tenant    text   not null,
    run       text   not null,
    object    text   not null,
    field     text   not null,
    strategy  text   not null,
    masked    bigint not null,
    nulls     bigint not null,
    unchanged bigint not null,
    primary key (tenant, run, object, field)
);

create table verify_totals (
    tenant    text        not null,
    run       text        not null,
    object    text        not null,
    references_verified bigint not null,
    references_wrong    bigint not null,
    values_compared     bigint not null,
    values_different    bigint not null,
    leaks     bigint      not null,
    target_count bigint   not null,
    api_calls bigint      not null,
    at        timestamptz not null,
    primary key (tenant, run, object)
);

create table resource_use (
    tenant      text             not null,
    run         text             not null,
    process     text             not null,
    cpu_seconds double precision not null,
    peak_memory_bytes bigint     not null,
    primary key (tenant, run, process)
);

-- Messages that no retry could save, sealed as they came.
create table dead_letter (
    id       bigint generated always as identity primary key,
    tenant   text        not null,
    run      text        not null,
    stage    text        not null,
    object   text        not null,
    batch    text        not null,
    code     text        not null,
    cause    text        not null,
    attempts integer     not null,
    payload  bytea       not null,
    digest   bytea       not null,
    at       timestamptz not null default clock_timestamp(),
    unique (tenant, run, stage, batch, digest)
);
create index dead_letter_run on dead_letter (tenant, run, id);
