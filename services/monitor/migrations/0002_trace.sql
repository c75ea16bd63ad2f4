-- The trace of the newest status, as a `traceparent` header: closing the books belongs to it.
alter table run add column trace text;
