-- What was refused can be loaded again: 'chosen' is to be loaded in this round of the run, 'resolved' was written since (or
-- found written).
alter table refusal add column state text not null default 'open' check (state in ('open', 'chosen', 'resolved'));
-- The source key of the parent that a parked record waits for.
alter table refusal add column missing text collate "C";
create index refusal_chosen on refusal (run_number, link, source_key) where state = 'chosen';
create index refusal_parked on refusal (run_number, link, source_key) where kind = 'parked' and state = 'open';

-- Pass 2 was refused: kept for a retry, and not tried before.
alter table deferred add column refused boolean not null default false;

-- The round of the run in which a batch was last delivered anew.
alter table claim add column round int not null default 0;
