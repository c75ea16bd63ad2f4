-- 'closing': the upload is complete and the job is about to be closed; only from here on may the target have written
-- anything. 'abandoned': the job will never be closed, whoever wakes up late.
alter table journal drop constraint journal_state_check;
alter table journal add constraint journal_state_check check (state in ('intent', 'created', 'abandoned', 'closing', 'settled'));

-- The sync whose contents the entry's rows are; a link is shared by syncs.
alter table journal add column sync text collate "C" not null default '';

-- Whoever loads over a link first settles what is open there, whatever run left it.
create index journal_open_link on journal (link) where state <> 'settled';
create index journal_job on journal (job) where job is not null;
