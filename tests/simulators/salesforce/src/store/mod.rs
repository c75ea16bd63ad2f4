//! The records: ids, cells, tables, and the rules every write passes.

pub mod db;
pub mod derive;
pub mod files;
pub mod formula;
pub mod id;
pub mod journal;
pub mod locks;
pub mod row;
pub mod rules;
pub mod setup;
pub mod shared;
pub mod value;
