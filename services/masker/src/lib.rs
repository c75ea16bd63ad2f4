//! Syncline service: masker
