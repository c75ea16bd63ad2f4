//! Field mapping (pure)
