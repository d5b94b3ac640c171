//! One visit at a time for each key, bounded concurrency, a window in which events gather, and visits at a set time.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    hash::Hash,
    pin::pin,
    time::Duration,
};

use futures::{Stream, StreamExt, future::poll_fn};
use kube::runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::{
    sync::mpsc,
    task::{Id, JoinSet},
    time::Instant,
};

/// How the queue works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Events that come within this time after the first one make one visit.
    pub window: Duration,
    /// At most this many visits at once.
    pub at_most: usize,
    /// When to visit again after a visit that panicked.
    pub after_panic: Duration,
}

/// Visits every key that `touched` yields, and again at the time that a visit returns, until `touched` ends. Then the running visits finish.
pub async fn run<K, F, Fut>(touched: impl Stream<Item = K> + Send, settings: Settings, mut visit: F)
where
    K: Hash + Eq + Clone + Unpin + Send + 'static,
    F: FnMut(K) -> Fut,
    Fut: Future<Output = Option<Instant>> + Send + 'static,
{
    let (again, requests) = mpsc::unbounded_channel::<ScheduleRequest<K>>();
    let requests = futures::stream::unfold(requests, async |mut requests| {
        requests.recv().await.map(|request| (request, requests))
    });
    // Not `debounced_scheduler`: it restarts its window at every event, so a busy key would never be visited. The earliest
    // request for a key wins, so that asking for "now and a window" makes a window that opens once.
    let touched = touched.map(|message| ScheduleRequest {
        message,
        run_at: Instant::now() + settings.window,
    });
    let mut queue = pin!(scheduler(until_first_ends(touched, requests)));
    let (mut visits, mut keys, mut running) =
        (JoinSet::new(), HashMap::<Id, K>::new(), HashSet::<K>::new());
    loop {
        let next = poll_fn(|context| {
            if running.len() < settings.at_most {
                queue
                    .as_mut()
                    .hold_unless(|key| !running.contains(key))
                    .poll_next_unpin(context)
            } else {
                queue.as_mut().hold().poll_next_unpin(context)
            }
        });
        tokio::select! {
            biased;
            Some(done) = visits.join_next_with_id(), if !running.is_empty() => {
                let (id, at) = match done {
                    Ok((id, at)) => (id, at),
                    Err(panicked) => (panicked.id(), Some(Instant::now() + settings.after_panic)),
                };
                let Some(key) = keys.remove(&id) else { continue };
                running.remove(&key);
                if let Some(run_at) = at {
                    // The receiver lives as long as this loop.
                    let _ = again.send(ScheduleRequest { message: key, run_at });
                }
            }
            key = next => match key {
                None => break,
                Some(key) => {
                    running.insert(key.clone());
                    keys.insert(visits.spawn(visit(key.clone())).id(), key);
                }
            }
        }
    }
    while visits.join_next().await.is_some() {}
}

/// `futures::stream::select` ends only when both streams do, and the second one here has no end of its own.
fn until_first_ends<T>(
    first: impl Stream<Item = T>,
    second: impl Stream<Item = T>,
) -> impl Stream<Item = T> {
    let first = first.map(Some).chain(futures::stream::iter([None]));
    futures::stream::select(first, second.map(Some))
        .take_while(|item| std::future::ready(item.is_some()))
        .filter_map(std::future::ready)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn settings() -> Settings {
        Settings {
            window: Duration::from_millis(250),
            at_most: 2,
            after_panic: Duration::from_secs(1),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_within_the_window_make_one_visit() {
        let visits = Arc::new(Mutex::new(vec![]));
        let (touch, touched) = mpsc::unbounded_channel();
        for _ in 0..50 {
            touch.send("a").expect("open");
        }
        touch.send("b").expect("open");
        let stream = futures::stream::unfold(touched, async |mut touched| {
            touched.recv().await.map(|key| (key, touched))
        });
        let seen = Arc::clone(&visits);
        let queue = tokio::spawn(run(stream.boxed(), settings(), move |key| {
            seen.lock().expect("unpoisoned").push(key);
            std::future::ready(None)
        }));
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
        let (touch, touched) = mpsc::unbounded_channel();
        let stream = futures::stream::unfold(touched, async |mut touched| {
            touched.recv().await.map(|key| (key, touched))
        });
        let shared = Arc::clone(&state);
        let queue = tokio::spawn(run(stream.boxed(), settings(), move |_key: &str| {
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
                (state.2 < 4).then(Instant::now)
            }
        }));
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
}
