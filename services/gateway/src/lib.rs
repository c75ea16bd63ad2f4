//! Syncline service: gateway
