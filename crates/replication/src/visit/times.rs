//! The periods of visits.

use std::time::Duration;

/// The periods of visits.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The time between two reads of everything.
    pub preflight: Duration,
    /// Two reads this far apart that both differ from the desired state are drift.
    pub grace: Duration,
    /// How long a new permission settles.
    pub settle: Duration,
    /// How long permissions of former rules stay.
    pub drain: Duration,
    /// The time between two searches for orphaned roles.
    pub sweep: Duration,
    /// The longest wait between two retries.
    pub retry: Duration,
}

impl Times {
    /// Those of a visit that only shows what it would do: new permissions are taken as settled, and a read as final.
    pub const AT_ONCE: Self = Self {
        preflight: Duration::ZERO,
        grace: Duration::ZERO,
        settle: Duration::ZERO,
        drain: Duration::ZERO,
        sweep: Duration::ZERO,
        retry: Duration::ZERO,
    };
}
