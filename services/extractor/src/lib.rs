//! Syncline service: extractor
