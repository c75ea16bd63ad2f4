//! Pure domain: ids, sync spec, plan, run state machine, error catalogue
