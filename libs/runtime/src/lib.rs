//! What every service is made of: config, telemetry, health, tasks and leases, outbox relay, shutdown
