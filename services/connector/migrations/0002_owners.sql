-- Who applied a connection first and may change it. Empty for those of an earlier release: an administrator's.
alter table connection add column owner text not null default '';
