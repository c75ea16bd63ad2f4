-- The connection's circuit breaker, JSON of domain::breaker::Breaker. Null while it is closed and nothing has failed, which
-- is nearly always: then a lease of quota reads it and that is all.
alter table quota add column breaker text;
