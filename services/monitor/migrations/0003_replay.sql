-- A dead letter is kept until somebody decides: it is replayed (and is kept again if that fails) or discarded.
alter table dead_letter add column records bigint not null default 0;
alter table dead_letter add column state text not null default 'kept' check (state in ('kept', 'replaying', 'replayed', 'discarded'));
-- when, and in which round of its run, it was given up last
alter table dead_letter add column last_at timestamptz;
alter table dead_letter add column round integer not null default 0;
alter table dead_letter add column replays integer not null default 0;
-- who decided last, when and why
alter table dead_letter add column decided_by text not null default '';
alter table dead_letter add column decided_at timestamptz;
alter table dead_letter add column reason text not null default '';
create index dead_letter_replaying on dead_letter (tenant, run, object, id) where state = 'replaying';

-- A run that is reopened is booked in a round of its own: what a later round says stands, whatever was said before.
alter table load_totals add column round bigint not null default 0;
alter table verify_totals add column round bigint not null default 0;
alter table refused add column round bigint not null default 0;
alter table refused add column resolved bigint not null default 0;
alter table refused add column reason text not null default '';
