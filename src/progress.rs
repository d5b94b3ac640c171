//! Whether the operator goes on: its watches are opened again and again, and visits that are due begin. `/healthz` says what does not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::api_server::WATCH_SECONDS;

/// A watch that was not opened, nor tried to, for this time is stuck: one is opened at least every minute, and retried within a minute.
const LONGEST_UNTRIED: Duration = Duration::from_secs(5 * WATCH_SECONDS as u64);
/// If a visit has been due for this time, and none has ended for as long, the queue is stuck: every visit ends after five minutes.
const LONGEST_STANDSTILL: Duration = Duration::from_mins(10);

/// What shows that the operator goes on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    /// By the path of the watch.
    watches: BTreeMap<String, Watched>,
    visited: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    tried: Instant,
    answered: Instant,
}

impl Progress {
    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch is opened.
    pub fn tried(&self, path: &str) {
        let now = Instant::now();
        let mut inside = self.inside();
        let begun = Watched {
            tried: now,
            answered: now,
        };
        inside.watches.entry(path.to_owned()).or_insert(begun).tried = now;
    }

    /// The API server answered a watch.
    pub fn answered(&self, path: &str) {
        if let Some(watched) = self.inside().watches.get_mut(path) {
            watched.answered = Instant::now();
        }
    }

    /// A visit ended.
    pub fn visited(&self) {
        self.inside().visited = Some(Instant::now());
    }

    /// This replica leads from now on.
    pub fn begin(&self) {
        *self.inside() = Inside {
            visited: Some(Instant::now()),
            ..Inside::default()
        };
    }

    /// It no longer leads, and has neither watches nor visits.
    pub fn end(&self) {
        *self.inside() = Inside::default();
    }

    /// How long ago the API server last answered a watch of each resource.
    #[must_use]
    pub fn watch_ages(&self) -> BTreeMap<String, Duration> {
        let mut ages: BTreeMap<String, Duration> = BTreeMap::new();
        for (path, watched) in &self.inside().watches {
            let resource = path.rsplit('/').next().unwrap_or_default();
            let age = ages.entry(resource.to_owned()).or_default();
            *age = (*age).max(watched.answered.elapsed());
        }
        ages
    }

    /// What is stuck, if a visit has been due for `longest_wait`.
    #[must_use]
    pub fn stuck(&self, longest_wait: Duration) -> Option<String> {
        let inside = self.inside();
        let untried = inside
            .watches
            .iter()
            .find(|(_, watched)| watched.tried.elapsed() > LONGEST_UNTRIED);
        if let Some((path, watched)) = untried {
            let seconds = watched.tried.elapsed().as_secs();
            return Some(format!(
                "the watch of {path} was last opened {seconds} s ago"
            ));
        }
        let since = inside.visited?.elapsed();
        (longest_wait > LONGEST_STANDSTILL && since > LONGEST_STANDSTILL).then(|| {
            format!(
                "a visit has been due for {} s, and the last one ended {} s ago",
                longest_wait.as_secs(),
                since.as_secs()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = "/apis/bucketops.dev/v1alpha1/bucketreplications";

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_no_longer_opened_is_stuck_and_one_that_is_refused_is_not() {
        let progress = Progress::default();
        progress.begin();
        progress.tried(OBJECTS);
        progress.answered(OBJECTS);
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_mins(1)).await;
            progress.tried(OBJECTS);
            assert_eq!(progress.stuck(Duration::ZERO), None);
        }
        let age = progress.watch_ages()["bucketreplications"];
        assert_eq!(age, Duration::from_hours(1));
        tokio::time::sleep(LONGEST_UNTRIED + Duration::from_secs(1)).await;
        let stuck = progress.stuck(Duration::ZERO).unwrap_or_default();
        assert!(stuck.contains(OBJECTS), "{stuck}");
        // A replica that does not lead any longer has no watches.
        progress.end();
        assert_eq!(progress.stuck(Duration::ZERO), None);
        assert!(progress.watch_ages().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_stuck_if_a_visit_is_due_and_none_ends() {
        let progress = Progress::default();
        let long = LONGEST_STANDSTILL + Duration::from_secs(1);
        assert_eq!(progress.stuck(long), None, "this replica does not lead");
        progress.begin();
        tokio::time::sleep(long).await;
        assert_eq!(progress.stuck(Duration::ZERO), None, "nothing is due");
        let stuck = progress.stuck(long).unwrap_or_default();
        assert!(stuck.contains("due for 601 s"), "{stuck}");
        progress.visited();
        assert_eq!(progress.stuck(long), None);
    }
}
