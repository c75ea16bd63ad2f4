-- A second reading of an object reads the same records again: the counts are those of the newest one.
alter table field_count add column generation int not null default 0;
