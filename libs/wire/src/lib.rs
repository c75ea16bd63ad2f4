//! Generated gRPC and bus messages, and their conversions to domain
