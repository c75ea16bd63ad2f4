//! Definitions made from other tools' configuration.
//!
//! Guarantees: what is written reads with Syncline's own parser; nothing is guessed and nothing is dropped unsaid. What
//! Syncline cannot hold becomes a [`Note`] with its place, both as a comment where it would stand and in one list. Where
//! a loss could let more out than its author wanted (a mask, an object that was not to be written), the strict choice is
//! written: `redact`, or the object as a comment. It does no IO and never repeats a value of a file in a note.
//!
//! Start with [`sfdmu::import`].

mod draft;
mod json;
mod note;
pub mod sfdmu;
mod soql;

pub use note::Note;

/// What to call the things that the other tool's file does not name.
#[derive(Debug, Clone)]
pub struct Names {
    pub sync: syncline_domain::SyncName,
    pub source: syncline_domain::ConnectionName,
    pub target: syncline_domain::ConnectionName,
}

/// What became of a file.
#[derive(Debug)]
pub struct Imported {
    /// One document per sync, with comments.
    pub yaml: String,
    /// What was not carried over, in the order of the file.
    pub notes: Vec<Note>,
    pub syncs: usize,
    pub objects: usize,
}

/// Nothing usable could be made: what is wrong, each with its place.
#[derive(Debug)]
pub struct Refused {
    pub errors: Vec<Note>,
    /// What else would not have been carried over.
    pub notes: Vec<Note>,
}
