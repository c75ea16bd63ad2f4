-- A reading that took too long in one piece is opened again in parts; its handle then names several jobs.
alter table generation drop constraint generation_state_check;
alter table generation add constraint generation_state_check check (state in ('open', 'lost', 'too_much', 'done'));
