//! What goes wrong: latency, reads that lag, new roles that are not principals yet, rates, outages, and faults of single calls. All of it is set by
//! a test, or by `POST /_control`.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

use crate::{
    calls::Call,
    message::{Refusal, Response},
};

/// What an answer becomes.
#[derive(Clone, Debug)]
pub enum Served {
    /// It arrives.
    Answer(Response),
    /// The connection ends without one.
    Dropped,
}

/// The weather.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Milliseconds that each call takes.
    pub latency: u64,
    /// Milliseconds that reads of configurations and policies lag behind.
    pub lag: u64,
    /// Milliseconds until a new role can be named as a principal.
    pub propagation: u64,
    /// Calls a second that a service takes from an account, such as `iam`, and those that write, such as `iam writes`; any number, if it is not here.
    pub rates: BTreeMap<String, u64>,
    /// Where nothing answers.
    pub outages: Vec<Outage>,
    /// What happens to single calls.
    pub faults: Vec<Fault>,
}

/// An account or Region in which nothing answers.
#[derive(Clone, Debug, Default)]
pub struct Outage {
    /// The Region; `None`: all of them.
    pub region: Option<String>,
    /// The account of the caller; `None`: all of them.
    pub account: Option<String>,
    /// What happens to calls.
    pub kind: OutageKind,
}

/// What happens to calls during an outage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutageKind {
    /// The connection is dropped.
    #[default]
    Drops,
    /// Nothing ever answers.
    Hangs,
    /// Every call is throttled.
    Throttles,
}

/// What happens to a call.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    /// The account of the caller; `None`: all of them.
    pub account: Option<String>,
    /// The operation, such as `s3:PutBucketPolicy`, or `*`.
    pub operation: String,
    /// So many matching calls pass before it.
    pub after: u64,
    /// So many matching calls have it.
    pub times: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// The call is refused, and nothing is done.
    Error(u16, String),
    /// The connection ends before anything is done.
    DropBefore,
    /// The connection ends after all is done.
    DropAfter,
    /// Half of the answer arrives.
    Truncate,
    /// A read shows what was before the last write since such a fault is among those of the weather.
    Stale,
    /// The answer takes so many milliseconds more.
    Delay(u64),
    /// The process with that ID is killed before anything is done.
    KillBefore(u32),
    /// The process with that ID is killed after all is done, and before the answer arrives.
    KillAfter(u32),
}

impl Default for FaultKind {
    fn default() -> Self {
        Self::Error(500, "InternalError".to_owned())
    }
}

impl Weather {
    /// The fault of this call of the account, if it is its turn.
    pub fn fault(&mut self, call: &Call, account: &str) -> Option<FaultKind> {
        let mut faults = self.faults.iter_mut();
        let fault = faults.find(|fault| {
            let operation = fault.operation == "*" || fault.operation == call.operation;
            let named = fault.account.as_deref();
            fault.times > 0 && operation && named.is_none_or(|named| named == account)
        })?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.kind.clone())
    }

    /// The outage there, if there is one.
    #[must_use]
    pub fn outage(&self, region: &str, account: &str) -> Option<OutageKind> {
        let same = |named: &Option<String>, value: &str| {
            named.as_deref().is_none_or(|named| named == value)
        };
        let mut outages = self.outages.iter();
        let found =
            outages.find(|outage| same(&outage.region, region) && same(&outage.account, account));
        found.map(|outage| outage.kind)
    }

    /// Changes what `change` names, and leaves the rest.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn change(&mut self, change: &Value) -> Result<(), String> {
        for (name, value) in change.as_object().ok_or("an object is needed")? {
            let number = || value.as_u64().ok_or_else(|| format!("{name} is a number"));
            match name.as_str() {
                "latency" => self.latency = number()?,
                "lag" => self.lag = number()?,
                "propagation" => self.propagation = number()?,
                "rates" => {
                    self.rates =
                        serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
                }
                "outages" => {
                    self.outages = list(value)?.iter().map(outage).collect::<Result<_, _>>()?;
                }
                "faults" => {
                    self.faults = list(value)?.iter().map(fault).collect::<Result<_, _>>()?;
                }
                other => return Err(format!("{other} is not known")),
            }
        }
        Ok(())
    }
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| "a list is needed".to_owned())
}

fn outage(value: &Value) -> Result<Outage, String> {
    let text = |field: &str| value[field].as_str().map(ToOwned::to_owned);
    let kind = match value["kind"].as_str() {
        None | Some("drops") => OutageKind::Drops,
        Some("hangs") => OutageKind::Hangs,
        Some("throttles") => OutageKind::Throttles,
        Some(other) => {
            return Err(format!(
                "an outage of kind \"{other}\" is not known: use drops, hangs or throttles"
            ));
        }
    };
    Ok(Outage {
        region: text("region"),
        account: text("account"),
        kind,
    })
}

fn fault(value: &Value) -> Result<Fault, String> {
    let process = || {
        let id = value["process"].as_u64().and_then(|id| id.try_into().ok());
        id.ok_or("process is the ID of the process that is killed")
    };
    let kind = match value["kind"].as_str().unwrap_or_default() {
        "error" => FaultKind::Error(
            u16::try_from(value["status"].as_u64().unwrap_or(500))
                .map_err(|error| error.to_string())?,
            value["code"].as_str().unwrap_or("InternalError").to_owned(),
        ),
        "killBefore" => FaultKind::KillBefore(process()?),
        "killAfter" => FaultKind::KillAfter(process()?),
        "dropBefore" => FaultKind::DropBefore,
        "dropAfter" => FaultKind::DropAfter,
        "truncate" => FaultKind::Truncate,
        "stale" => FaultKind::Stale,
        "delay" => FaultKind::Delay(value["milliseconds"].as_u64().unwrap_or_default()),
        other => {
            return Err(format!(
                "a fault of kind \"{other}\" is not known: use error, dropBefore, dropAfter, killBefore, killAfter, truncate, stale or delay"
            ));
        }
    };
    Ok(Fault {
        account: value["account"].as_str().map(ToOwned::to_owned),
        operation: value["operation"].as_str().unwrap_or("*").to_owned(),
        after: value["after"].as_u64().unwrap_or_default(),
        times: value["times"].as_u64().unwrap_or(1),
        kind,
    })
}

/// Ends a process as a crash would.
pub fn kill(process: u32) {
    // One that is gone already is as good as killed.
    let _ = Command::new("kill")
        .args(["-s", "KILL", &process.to_string()])
        .status();
}

/// How a service refuses calls that come too fast ("Error responses" in the S3 API Reference, "Common Error Types" of IAM, STS and KMS).
#[must_use]
pub fn throttled(service: &str) -> Refusal {
    match service {
        "iam" | "sts" => Refusal::new(400, "Throttling", "Rate exceeded"),
        "kms" => Refusal::new(
            400,
            "ThrottlingException",
            "You have exceeded the rate at which you may call KMS.",
        ),
        _ => Refusal::new(503, "SlowDown", "Please reduce your request rate."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn weather(fault: &Value) -> Result<Weather, String> {
        let mut weather = Weather::default();
        weather.change(&json!({"faults": [fault]}))?;
        Ok(weather)
    }

    fn call() -> Call {
        Call {
            key: "111111111111".to_owned(),
            region: "us-east-1".to_owned(),
            operation: "s3:PutBucketPolicy".to_owned(),
            path: "/records".to_owned(),
            status: None,
            began: 0,
            took: 0,
        }
    }

    #[test]
    fn a_fault_is_for_its_operation_and_account_and_ends() -> Result<(), String> {
        let fault = json!({"operation": "s3:PutBucketPolicy", "account": "111111111111", "kind": "dropAfter"});
        let mut weather = weather(&fault)?;
        assert!(weather.fault(&call(), "222222222222").is_none());
        let other = Call {
            operation: "s3:GetBucketPolicy".to_owned(),
            ..call()
        };
        assert!(weather.fault(&other, "111111111111").is_none());
        let mine = weather.fault(&call(), "111111111111");
        assert!(matches!(mine, Some(FaultKind::DropAfter)), "{mine:?}");
        assert!(weather.fault(&call(), "111111111111").is_none());
        Ok(())
    }

    #[test]
    fn who_is_killed_has_to_be_said() {
        let error = weather(&json!({"kind": "killBefore"})).err();
        assert_eq!(
            error.as_deref(),
            Some("process is the ID of the process that is killed")
        );
        assert!(weather(&json!({"kind": "killBefore", "process": 1234})).is_ok());
    }
}
