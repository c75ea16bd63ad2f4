//! Every named point of the pipeline, in the order in which a record meets them.

use super::Point;

macro_rules! points {
    ($( $constant:ident = $name:literal, [$($service:literal),+], $between:literal; )*) => {
        $( #[doc = $between] pub static $constant: Point = Point {
            name: $name, services: &[$($service),+], between: $between,
        }; )*

        /// All of them.
        pub static POINTS: &[&Point] = &[ $( &$constant, )* ];
    };
}

points! {
    GATEWAY_AUDITED = "gateway.audited", ["gateway"],
        "a change is recorded in the audit log, and not passed on";
    GATEWAY_ANSWERED = "gateway.answered", ["gateway"],
        "a change is carried out, and its result neither recorded nor told";
    COORDINATOR_RUN_STORED = "coordinator.run_stored", ["coordinator"],
        "a run is stored, and its submitter not answered";
    COORDINATOR_EVENT_DECIDED = "coordinator.event_decided", ["coordinator"],
        "state and effects of an event are written, and not committed";
    COORDINATOR_EVENT_APPLIED = "coordinator.event_applied", ["coordinator"],
        "an event is applied; its effects are not relayed, the event not acknowledged";
    COORDINATOR_RUN_PURGED = "coordinator.run_purged", ["coordinator"],
        "a finished run's remains are purged from the bus, and that is not recorded";
    OUTBOX_RELAYED = "outbox.relayed", ["coordinator", "analyzer", "extractor", "masker", "loader"],
        "messages of the outbox are published, and not yet removed from it";
    WORKER_LEASE_TAKEN = "worker.lease_taken", ["analyzer", "extractor", "masker", "loader"],
        "a task is leased, and its invitation not acknowledged";
    WORKER_WORK_DONE = "worker.work_done", ["analyzer", "extractor", "masker", "loader"],
        "a task's work is done, and the task not finished";
    WORKER_TASK_FINISHED = "worker.task_finished", ["analyzer", "extractor", "masker", "loader"],
        "a task is finished, and the coordinator not told";
    CONNECTOR_SIGNED_IN = "connector.signed_in", ["connector"],
        "the org gave a token, which is not stored";
    CONNECTOR_TOKEN_STORED = "connector.token_stored", ["connector"],
        "a token is stored, and nobody has it";
    CONNECTOR_RUN_KEY_STORED = "connector.run_key_stored", ["connector"],
        "a run's data keys are stored, and nobody has them";
    ANALYZER_PLAN_BUILT = "analyzer.plan_built", ["analyzer"],
        "a plan is built, and not stored";
    ANALYZER_PLAN_STORED = "analyzer.plan_stored", ["analyzer"],
        "a plan is stored, and the task not finished";
    EXTRACTOR_GENERATION_OPENED = "extractor.generation_opened", ["extractor"],
        "a query job is made at the source, and its handle not stored";
    EXTRACTOR_BATCH_RECORDED = "extractor.batch_recorded", ["extractor"],
        "a raw batch is recorded, and not published";
    EXTRACTOR_BATCH_PUBLISHED = "extractor.batch_published", ["extractor"],
        "a raw batch is published, and not marked so";
    EXTRACTOR_BATCH_MARKED = "extractor.batch_marked", ["extractor"],
        "a raw batch is marked as published, and the next one not begun";
    EXTRACTOR_PAGE_READ = "extractor.page_read", ["extractor"],
        "every batch of a page is published, and the cursor not moved";
    EXTRACTOR_END_PUBLISHED = "extractor.end_published", ["extractor"],
        "the end marker is published, and the generation not closed";
    MASKER_BATCH_COUNTED = "masker.batch_counted", ["masker"],
        "a delivery is counted, and nothing done with it";
    MASKER_CLEAN_PUBLISHED = "masker.clean_published", ["masker"],
        "a clean batch is published, and not recorded";
    MASKER_BATCH_RECORDED = "masker.batch_recorded", ["masker"],
        "a clean batch is recorded, and its raw one not acknowledged";
    MASKER_CONSUMER_FORGOTTEN = "masker.consumer_forgotten", ["masker"],
        "an object's consumer is deleted, and the task not finished";
    LOADER_BATCH_COUNTED = "loader.batch_counted", ["loader"],
        "a delivery is counted, and its rows not looked at";
    LOADER_END_BOOKED = "loader.end_booked", ["loader"],
        "an end marker is booked, and not acknowledged";
    LOADER_INTENT_STORED = "loader.intent_stored", ["loader"],
        "claim, keys and journal entry are committed, and no job exists";
    LOADER_JOB_CREATED = "loader.job_created", ["loader"],
        "a job exists, and its id is not stored";
    LOADER_JOB_STORED = "loader.job_stored", ["loader"],
        "a job's id is stored, and nothing uploaded";
    LOADER_UPLOADED = "loader.uploaded", ["loader"],
        "rows are uploaded, and the journal does not say that the job will be closed";
    LOADER_CLOSING_STORED = "loader.closing_stored", ["loader"],
        "the journal says that the job will be closed, and it is open";
    LOADER_JOB_CLOSED = "loader.job_closed", ["loader"],
        "the job is closed, and its end not waited for";
    LOADER_JOB_ENDED = "loader.job_ended", ["loader"],
        "the job has ended, and its results are not read";
    LOADER_RESULTS_READ = "loader.results_read", ["loader"],
        "results are read, and not committed";
    LOADER_RESULTS_DECIDED = "loader.results_decided", ["loader"],
        "outcomes are written, and their transaction not committed";
    LOADER_RESULTS_COMMITTED = "loader.results_committed", ["loader"],
        "outcomes are committed, and the job not deleted";
    LOADER_JOB_DELETED = "loader.job_deleted", ["loader"],
        "the job is deleted, and its batches' claims still open";
    LOADER_CLAIMS_CLOSED = "loader.claims_closed", ["loader"],
        "claims are closed, and the batches not acknowledged";
    LOADER_CONSUMER_FORGOTTEN = "loader.consumer_forgotten", ["loader"],
        "an object's consumer is deleted, and the task not finished";
    LOADER_DELETIONS_SENT = "loader.deletions_sent", ["loader"],
        "records are deleted at the target, and nothing of it booked";
    MONITOR_FACT_BOOKED = "monitor.fact_booked", ["monitor"],
        "a fact is booked, and not acknowledged";
    MONITOR_BOOKS_CLOSED = "monitor.books_closed", ["monitor"],
        "a run's books are closed, and those who watch not told";
}
