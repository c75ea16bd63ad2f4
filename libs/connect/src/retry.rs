//! The retry policy, which a connection's document sets and every connector keeps to.

pub use syncline_domain::retry::RetryPolicy;
