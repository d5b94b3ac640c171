//! The slot of a visit among those that run at the same time: it is given back while the visit waits for others.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

/// What a visit does with its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The visit waits: others may run.
    GivenBack,
    /// The visit goes on.
    Taken,
}

/// The slot of a visit. Cheap to clone: all clones are the same slot.
#[derive(Clone, Default)]
pub struct Slot(Option<Arc<Held>>);

struct Held {
    /// How many parts of the visit wait, since parts of it run side by side.
    waiting: Mutex<usize>,
    changed: Box<dyn Fn(Use) + Send + Sync>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").field(&self.0.is_some()).finish()
    }
}

impl Slot {
    /// A slot that calls `changed` with what becomes of it. For that of [`Slot::default`], no other visit waits.
    #[must_use]
    pub fn new(changed: impl Fn(Use) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Held {
            waiting: Mutex::new(0),
            changed: Box::new(changed),
        })))
    }

    /// Waits for `others` without the slot.
    pub async fn given_back<T>(&self, others: impl Future<Output = T>) -> T {
        let _waiting = self.0.as_deref().map(Waiting::begin);
        others.await
    }
}

/// Ends when it is dropped, also if the visit is.
struct Waiting<'a>(&'a Held);

impl<'a> Waiting<'a> {
    fn begin(held: &'a Held) -> Self {
        let mut waiting = held.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting += 1;
        if *waiting == 1 {
            (held.changed)(Use::GivenBack);
        }
        Self(held)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *waiting -= 1;
        if *waiting == 0 {
            (self.0.changed)(Use::Taken);
        }
    }
}
