//! Syncline service: loader
