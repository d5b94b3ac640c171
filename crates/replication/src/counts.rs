//! How often the costly functions ran in a test: each object is validated once in a visit, and nothing is composed without need.

use std::cell::Cell;

thread_local! {
    pub(crate) static VALIDATED: Cell<usize> = const { Cell::new(0) };
    pub(crate) static ASSESSED: Cell<usize> = const { Cell::new(0) };
    pub(crate) static COMPOSED: Cell<usize> = const { Cell::new(0) };
}

/// Adds one.
pub(crate) fn count(counter: &'static std::thread::LocalKey<Cell<usize>>) {
    counter.with(|counter| counter.set(counter.get() + 1));
}

/// What was counted since the last time.
pub(crate) fn taken() -> [usize; 3] {
    [&VALIDATED, &ASSESSED, &COMPOSED].map(|counter| counter.with(Cell::take))
}
