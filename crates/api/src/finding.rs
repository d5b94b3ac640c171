//! The status of one condition, and the condition that it makes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::condition::{ConditionType, Reason};

/// The status of one condition, with reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `None` is `Unknown`.
    pub holds: Option<bool>,
    /// Why.
    pub reason: Reason,
    /// One sentence for people; never empty.
    pub message: String,
}

impl Finding {
    /// The condition is True.
    #[must_use]
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(true),
            reason,
            message: message.into(),
        }
    }

    /// The condition is False.
    #[must_use]
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: Some(false),
            reason,
            message: message.into(),
        }
    }

    /// The condition is Unknown.
    #[must_use]
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: None,
            reason,
            message: message.into(),
        }
    }

    /// The status of the condition.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }

    /// The finding as a condition. The transition time is kept from `previous` if the status is the same. It has whole seconds, because the API
    /// server cuts the rest and the condition that is read back would differ.
    #[must_use]
    pub fn condition(
        &self,
        kind: ConditionType,
        generation: Option<i64>,
        previous: &[Condition],
        now: jiff::Timestamp,
    ) -> Condition {
        let status = self.status();
        // The default conditions of the CRD have a time that means nothing.
        let same =
            |condition: &&Condition| condition.type_ == kind.as_str() && condition.status == status;
        let unchanged = previous
            .iter()
            .find(same)
            .filter(|condition| condition.reason != Reason::Pending.as_str());
        let now = jiff::Timestamp::from_second(now.as_second()).unwrap_or(now);
        Condition {
            type_: kind.as_str().into(),
            status: status.into(),
            reason: self.reason.as_str().into(),
            message: self.message.clone(),
            observed_generation: generation,
            last_transition_time: unchanged.map_or(Time(now), |condition| {
                condition.last_transition_time.clone()
            }),
        }
    }
}
