//! A key to read.

use std::fmt;

use crate::{keys::KeyReference, names::OwnedBucket};

/// A key to read: how it is named, and the bucket whose account and Region an alias is in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyQuery {
    /// How it was named.
    pub reference: KeyReference,
    /// The bucket that it is for.
    pub beside: OwnedBucket,
}

impl fmt::Display for KeyQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reference.fmt(f)
    }
}
