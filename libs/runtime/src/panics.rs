//! What is told of a panic: where it happened, and nothing that it holds.
//!
//! Messages are put together from whatever is at hand: a text that is cut in the middle of a character is quoted in full
//! by the standard library. That may be a record's value, and values stand in no log.

use std::any::Any;
use std::panic::PanicHookInfo;

/// From now on panics of this process are logged without their message, unless that was written down in the program itself.
pub fn hide_values() {
    std::panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    match literal(panic.payload()) {
        Some(message) => tracing::error!(place, thread, message, "the program panicked"),
        None => tracing::error!(place, thread, "the program panicked; its message may hold values and is not shown"),
    }
}

/// A message that holds nothing but what the program's author wrote.
fn literal(payload: &(dyn Any + Send)) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_put_together_is_not_told() {
        assert_eq!(literal(&"the author's words"), Some("the author's words"));
        assert_eq!(literal(&format!("the author's words and {}", "a value")), None);
        assert_eq!(literal(&7), None);
    }
}
