//! Syncline service: analyzer
