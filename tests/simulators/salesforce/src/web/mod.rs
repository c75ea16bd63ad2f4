//! The way in: listener, dispatch, answers, faults, and the control of the simulator itself.

pub mod admin;
pub mod distort;
pub mod faults;
pub mod http;
pub mod jobs;
pub mod listener;
pub mod markup;
pub mod negotiate;
mod recycle;
pub mod reply;
pub mod serve;
pub mod target;
pub mod tls;
pub mod xml;
