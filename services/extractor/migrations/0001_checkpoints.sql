-- One reading of a partition. A generation that was lost stays until the books close.
create table generation (
    run text not null,
    object text not null,
    partition int not null,
    generation int not null,
    -- the source's handle: a query job's id
    handle text not null,
    state text not null default 'open' check (state in ('open', 'lost', 'done')),
    -- where the page begins that is being read; null is the first
    cursor text,
    records_expected bigint not null default 0,
    api_calls bigint not null default 0,
    primary key (run, object, partition, generation)
);

-- The checkpoint: a batch stands here before it is published.
create table batch (
    run text not null,
    object text not null,
    partition int not null,
    generation int not null,
    seq int not null,
    -- the page that it was cut from, and its place in it
    cursor text,
    place int not null,
    records int not null,
    bytes int not null,
    -- keyed digest of the content
    digest bytea not null,
    published boolean not null default false,
    primary key (run, object, partition, generation, seq)
);
