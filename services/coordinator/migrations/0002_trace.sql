-- The trace of the run's control flow, from its submit on, as a `traceparent` header.
alter table run add column trace text;
