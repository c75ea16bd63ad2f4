-- Connections, their sealed credentials, their quota, cached describes, and the keys of runs.

-- Raised by every apply, and never reused: what was derived from an older version of a connection is recognised as such.
create sequence connection_version;

create table connection (
    tenant            text        not null,
    name              text        not null,
    version           bigint      not null,
    -- JSON (which is YAML) of the document as it was read: references to secrets, never secrets or comments.
    document          text        not null,
    applied_at        timestamptz not null default clock_timestamp(),
    -- Read from the org; null until then.
    org_type          text,
    org_id            text,
    org_name          text,
    -- Connected, Expired, Error; null until tested or used.
    health            text,
    health_code       text,
    health_message    text,
    last_connected_at timestamptz,
    primary key (tenant, name)
);

-- The row that is locked while a token is renewed.
create table credential (
    tenant           text   not null,
    name             text   not null,
    version          bigint not null,
    -- The connection's own key, wrapped by the key-encryption key `credentials`.
    data_key         bytea  not null,
    -- Sealed by the data key.
    secrets          bytea  not null,
    token            bytea,
    token_expires_at timestamptz,
    primary key (tenant, name),
    foreign key (tenant, name) references connection on delete cascade
);

create table quota (
    tenant      text        not null,
    name        text        not null,
    -- The moment at which every call that was granted so far has had its turn.
    next_free   timestamptz not null default clock_timestamp(),
    -- What the system last said of its daily allocation.
    calls_used  bigint,
    calls_max   bigint,
    reported_at timestamptz,
    primary key (tenant, name),
    foreign key (tenant, name) references connection on delete cascade
);

create table describe (
    tenant  text        not null,
    name    text        not null,
    object  text        not null,
    version bigint      not null,
    -- JSON of domain::describe::ObjectDescribe: metadata only.
    body    text        not null,
    read_at timestamptz not null default clock_timestamp(),
    primary key (tenant, name, object),
    foreign key (tenant, name) references connection on delete cascade
);

create table run_key (
    tenant        text        not null,
    run           text        not null,
    raw_wrapped   bytea       not null,
    clean_wrapped bytea       not null,
    made_at       timestamptz not null default clock_timestamp(),
    primary key (tenant, run)
);
