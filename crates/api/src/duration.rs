//! Periods as users write them: hours, minutes and seconds, as in `1h30m`.

use std::time::Duration;

use jiff::SignedDuration;

/// The duration that a field of a spec says. None: it is no duration, or negative.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let parsed = text.parse::<SignedDuration>().ok()?;
    Duration::try_from(parsed).ok()
}

pub(crate) fn quarter_of_an_hour() -> String {
    "15m".into()
}
