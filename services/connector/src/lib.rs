//! Syncline service: connector
