//! Streams, subjects, publisher and delivery runner over NATS JetStream
