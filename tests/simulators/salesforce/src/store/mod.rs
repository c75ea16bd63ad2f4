//! The records: ids, cells, tables, and the rules every write passes.

pub mod db;
pub mod derive;
pub mod id;
pub mod row;
pub mod rules;
pub mod value;
