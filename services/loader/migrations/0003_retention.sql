-- When a run began to load: sealed refusals and samples of runs are kept for a while, not for ever.
alter table run_number add column made_at timestamptz not null default clock_timestamp();
create index run_number_made on run_number (made_at);
