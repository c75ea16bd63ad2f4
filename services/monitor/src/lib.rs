//! Syncline service: monitor
