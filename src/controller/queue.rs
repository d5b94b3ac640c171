//! Visits keys in the order of the schedule: one visit at a time for each, and so many at once as there are slots.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::schedule::{Accounts, Due, Next, Schedule, Urgency};
use crate::slot::{Slot, Use};

/// A visit that panicked is made again after this time.
const AFTER_PANIC: Duration = Duration::from_secs(30);

/// The keys to visit. Cheap to clone.
#[derive(Debug)]
pub struct Queue<K> {
    schedule: Arc<Mutex<Schedule<K>>>,
    changed: Arc<Notify>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self {
            schedule: Arc::clone(&self.schedule),
            changed: Arc::clone(&self.changed),
        }
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Queue<K> {
    /// With so many slots: visits that wait for others do not count.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self {
            schedule: Arc::new(Mutex::new(Schedule::new(slots))),
            changed: Arc::default(),
        }
    }

    /// What is scheduled. Hold it no longer than it takes.
    pub fn schedule(&self) -> MutexGuard<'_, Schedule<K>> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: &K) -> Slot {
        let (queue, key) = (self.clone(), key.clone());
        Slot::new(move |to| {
            match to {
                Use::GivenBack => queue.schedule().pause(&key),
                Use::Taken => queue.schedule().resume(&key),
            }
            queue.changed.notify_one();
        })
    }

    /// Visits every key that `touched` yields, with the accounts that its visits call, when it is due, and again when a visit says so, until `touched`
    /// ends. Then it waits for `stopped`, and drops the visits that still run.
    pub async fn run<F, Fut, T>(
        self,
        touched: impl Stream<Item = (K, Due, Accounts)> + Send,
        mut visit: F,
        stopped: impl Future<Output = T>,
    ) where
        F: FnMut(K, Slot) -> Fut,
        Fut: Future<Output = Option<(Due, Accounts)>> + Send + 'static,
    {
        let mut touched = pin!(touched);
        let (mut visits, mut keys) = (JoinSet::new(), HashMap::<Id, (K, Accounts)>::new());
        loop {
            let next = self.schedule().next(Instant::now());
            let until = match next {
                Next::Visit(key, accounts) => {
                    let slot = self.slot(&key);
                    let visit = visits.spawn(visit(key.clone(), slot));
                    keys.insert(visit.id(), (key, accounts));
                    continue;
                }
                Next::Wait(until) => until,
            };
            tokio::select! {
                biased;
                Some(done) = visits.join_next_with_id() => {
                    let id = done.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                    if let Some((key, accounts)) = keys.remove(&id) {
                        let after_panic = || Due { at: Instant::now() + AFTER_PANIC, urgency: Urgency::Retry };
                        let again = done.map_or_else(|_| Some((after_panic(), accounts)), |(_, again)| again);
                        self.schedule().ended(&key, again);
                    }
                }
                item = touched.next() => match item {
                    Some((key, due, accounts)) => self.schedule().touch(key, due, accounts),
                    None => break,
                },
                () = self.changed.notified() => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
        let _stopped = stopped.await;
        visits.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    /// A queue with two slots, whose visits do what `visit` does, and a way to touch its keys.
    fn running<Fut>(
        visit: impl FnMut(&'static str, Slot) -> Fut + Send + 'static,
    ) -> (
        mpsc::UnboundedSender<&'static str>,
        tokio::task::JoinHandle<()>,
    )
    where
        Fut: Future<Output = Option<(Due, Accounts)>> + Send + 'static,
    {
        let (touch, touched) = mpsc::unbounded_channel();
        let touched = futures::stream::unfold(touched, async |mut touched| {
            let key = touched.recv().await?;
            let due = change(Duration::from_millis(250));
            Some(((key, due, [].into()), touched))
        });
        let ended = tokio::time::sleep(Duration::from_mins(10));
        let queue = Queue::new(2).run(touched.boxed(), visit, ended);
        (touch, tokio::spawn(queue))
    }

    fn change(after: Duration) -> Due {
        Due {
            at: Instant::now() + after,
            urgency: Urgency::Change,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_within_the_window_make_one_visit() {
        let visits = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&visits);
        let (touch, queue) = running(move |key, _| {
            seen.lock().expect("unpoisoned").push(key);
            std::future::ready(None)
        });
        for _ in 0..50 {
            touch.send("a").expect("open");
        }
        touch.send("b").expect("open");
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(touch);
        queue.await.expect("ends");
        let mut seen = visits.lock().expect("unpoisoned").clone();
        seen.sort_unstable();
        assert_eq!(seen, ["a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_not_visited_twice_at_once_and_comes_back_when_asked() {
        let state = Arc::new(Mutex::new((0, 0, 0)));
        let shared = Arc::clone(&state);
        let (touch, queue) = running(move |_, _| {
            let shared = Arc::clone(&shared);
            async move {
                {
                    let mut state = shared.lock().expect("unpoisoned");
                    state.0 += 1;
                    state.1 = state.1.max(state.0);
                    state.2 += 1;
                }
                tokio::time::sleep(Duration::from_secs(3)).await;
                let mut state = shared.lock().expect("unpoisoned");
                state.0 -= 1;
                (state.2 < 4).then(|| (change(Duration::ZERO), [].into()))
            }
        });
        for _ in 0..3 {
            touch.send("a").expect("open");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(touch);
        queue.await.expect("ends");
        let (_, most_at_once, visits) = *state.lock().expect("unpoisoned");
        assert_eq!((most_at_once, visits), (1, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn visits_that_wait_for_others_leave_their_slots() {
        let (held, ended) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (release, counted) = (Arc::clone(&held), Arc::clone(&ended));
        let (touch, queue) = running(move |key, slot: Slot| {
            let (held, ended) = (Arc::clone(&held), Arc::clone(&ended));
            async move {
                if key.starts_with("waits") {
                    slot.given_back(held.notified()).await;
                }
                ended.fetch_add(1, Ordering::SeqCst);
                None
            }
        });
        for key in ["waits 1", "waits 2", "waits 3", "goes on"] {
            touch.send(key).expect("open");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(counted.load(Ordering::SeqCst), 1, "only one goes on");
        release.notify_waiters();
        drop(touch);
        queue.await.expect("ends");
        assert_eq!(counted.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_visit_that_panicked_is_made_again() {
        let visits = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&visits);
        let (touch, queue) = running(move |_, _| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                assert!(!first, "the first visit panics");
                None
            }
        });
        touch.send("a").expect("open");
        tokio::time::sleep(AFTER_PANIC / 2).await;
        assert_eq!(visits.load(Ordering::SeqCst), 1);
        tokio::time::sleep(AFTER_PANIC).await;
        assert_eq!(visits.load(Ordering::SeqCst), 2);
        drop(touch);
        queue.await.expect("ends");
    }
}
