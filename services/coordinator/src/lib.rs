//! Syncline service: coordinator
