-- API tokens: of the secret only a hash is kept.
create table token (
    id           text        primary key,
    hash         bytea       not null unique,
    subject      text        not null,
    role         text        not null check (role in ('viewer', 'operator', 'admin')),
    created_by   text        not null,
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    revoked_at   timestamptz,
    -- to the minute
    last_used_at timestamptz
);

-- The audit log: rows are only ever appended, each holding the hash of the one before (domain::audit).
create table audit (
    seq         bigint primary key,
    at_us       bigint not null,
    request     text   not null,
    subject     text   not null,
    role        text   not null,
    address     text   not null,
    method      text   not null,
    resource    text   not null,
    connections text   not null,
    result      text   not null,
    code        text   not null,
    previous    bytea  not null,
    hash        bytea  not null
);
create index audit_subject on audit (subject, seq);

-- The end of the chain; locked by whoever appends.
create table audit_head (
    the_only  boolean primary key default true check (the_only),
    seq  bigint  not null,
    hash bytea   not null
);
insert into audit_head (seq, hash) values (0, decode(repeat('00', 32), 'hex'));

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'the audit log is append-only';
end $$;
create trigger audit_append_only before update or delete or truncate on audit
    for each statement execute function audit_is_append_only();
