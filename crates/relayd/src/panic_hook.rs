//! What is told of a panic, and their count.
//!
//! A panic's message may quote what it stumbled over: a URL in an error's Debug form, the text that a slice was taken
//! of. A message that was put together at run time is therefore withheld, and the place stands for it; one that stands
//! in the source as it is, or that holds numbers alone, is shown.

use std::{
    any::Any,
    backtrace::{Backtrace, BacktraceStatus},
    panic,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use tracing::error;

use crate::log_writer;

/// From now on panics are logged and counted instead of printed.
pub fn install() {
    panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Relaxed);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let backtrace = Backtrace::capture();
        // Symbols and lines of the source, no values.
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        error!(place, backtrace, "panic: {}", shown(panic.payload()));
        // A panic while another unwinds ends the process as soon as this returns.
        log_writer::settle();
    }));
}

/// Panics since the start.
pub fn count() -> u64 {
    PANICS.load(Relaxed)
}

fn shown(payload: &dyn Any) -> &str {
    if let Some(literal) = payload.downcast_ref::<&'static str>() {
        return literal;
    }
    let made = payload.downcast_ref::<String>().filter(|text| OF_NUMBERS.iter().any(|start| text.starts_with(start)));
    made.map_or("(the message may hold a value and is withheld)", String::as_str)
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// How the standard library's messages begin that hold lengths and indices of slices, and nothing else.
const OF_NUMBERS: [&str; 4] =
    ["index out of bounds: ", "range start index ", "range end index ", "slice index starts at "];

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: impl FnOnce() + panic::UnwindSafe) -> String {
        shown(panic::catch_unwind(code).unwrap_err().as_ref()).to_owned()
    }

    #[test]
    fn what_was_put_together_at_run_time_is_withheld() {
        let (secret, nothing) = (String::from("stream-key"), Vec::<u8>::new());
        let withheld = "(the message may hold a value and is withheld)";
        let slice = secret.clone();
        assert_eq!(told(move || panic!("no {secret}")), withheld);
        assert_eq!(told(move || drop(slice[..30].to_owned())), withheld);
        assert_eq!(told(|| _ = "stream-key".parse::<u8>().unwrap()), withheld);
        assert_eq!(told(|| panic::panic_any(7)), withheld);
        assert_eq!(told(|| panic!("plain")), "plain");
        assert_eq!(told(|| _ = "".chars().next().unwrap()), "called `Option::unwrap()` on a `None` value");
        assert_eq!(
            told(move || _ = nothing[std::hint::black_box(3)]),
            "index out of bounds: the len is 0 but the index is 3"
        );
    }
}
