//! Development only: real NATS, real PostgreSQL, simulators, faults
