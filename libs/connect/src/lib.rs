//! Source and Target traits, capabilities, conformance suite
