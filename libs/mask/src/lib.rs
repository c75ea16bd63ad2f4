//! Masking strategies, presets and classification (pure)
