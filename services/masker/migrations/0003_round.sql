-- The round of the run in which a batch was last worked on anew: one that had been given up may be replayed.
alter table batch add column round int not null default 0;
