-- The plan of a run, as it was made. Never changed: batches carry its hash.
create table plan (
    run text primary key,
    plan_json bytea not null,
    hash text not null,
    review boolean not null,
    created_at timestamptz not null default clock_timestamp()
);
