-- Every raw batch that was delivered: attempts are counted before it is opened.
create table batch (
    run text not null,
    object text not null,
    partition int not null,
    generation int not null,
    seq int not null,
    attempts int not null default 0,
    -- its clean batch is stored on the bus
    done boolean not null default false,
    records bigint not null default 0,
    bytes bigint not null default 0,
    primary key (run, object, partition, generation, seq)
);

-- How many batches a generation of a partition has.
create table partition_end (
    run text not null,
    object text not null,
    partition int not null,
    generation int not null,
    batches int not null,
    records bigint not null,
    primary key (run, object, partition, generation)
);

-- What became of each masked field; added up in the transaction that marks a batch as done.
create table field_count (
    run text not null,
    object text not null,
    field text not null,
    strategy text not null,
    masked bigint not null default 0,
    empty bigint not null default 0,
    unchanged bigint not null default 0,
    primary key (run, object, field)
);
