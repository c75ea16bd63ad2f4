//! End-to-end tests over real servers and simulators
