-- When a loader was last at work on this database, by its clock: one row.
create table presence (
    one boolean primary key default true check (one),
    seen_at timestamptz not null
);

-- Spans in which none was, as far as this database knows: nothing ran, or it was restored to their beginning.
create table gap (
    began timestamptz primary key,
    ended timestamptz not null
);

-- As of this moment the target held nothing of ours over the link that is not in ledger or journal.
alter table link add column reconciled_at timestamptz;
