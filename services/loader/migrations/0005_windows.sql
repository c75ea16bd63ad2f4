-- When and as whom the job was created, by the target's own account: what it wrote is found by that once its results are gone.
alter table journal add column job_created timestamptz;
alter table journal add column job_creator text;
