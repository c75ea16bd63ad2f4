create table sync (
    tenant text not null,
    name text not null,
    version int not null,
    source text not null,
    target text not null,
    yaml text not null,
    applied_at timestamptz not null default clock_timestamp(),
    primary key (tenant, name, version)
);

create table run (
    id text primary key,
    tenant text not null,
    sync text not null,
    sync_version int not null,
    source text not null,
    target text not null,
    idempotency_key text,
    -- domain::run::RunState; changed by compare-and-swap of version only
    state jsonb not null,
    version bigint not null,
    status text not null,
    submitted_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    -- what the run left on the bus is removed
    purged boolean not null default false,
    foreign key (tenant, sync, sync_version) references sync (tenant, name, version),
    unique (tenant, idempotency_key)
);

-- One run at a time may write a link.
create unique index run_active on run (tenant, source, target) where finished_at is null;
create index run_by_sync on run (tenant, sync, id desc);
