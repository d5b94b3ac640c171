//! The query protocol of IAM and STS: forms, and answers in XML.

use std::collections::BTreeMap;

use crate::message::{Refusal, Response, fields};

/// The fields of a call.
#[derive(Clone, Debug)]
pub struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads the body of a call.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        Self(fields(&String::from_utf8_lossy(body)))
    }

    /// The name of the action, without its service.
    #[must_use]
    pub fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    /// A field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A field that has to be there.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let message = format!("1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must not be null");
            Refusal::new(400, "ValidationError", message)
        })
    }

    /// The pairs of a list such as `Tags.member.1.Key`.
    #[must_use]
    pub fn pairs(&self, list: &str) -> BTreeMap<String, String> {
        let pair = |number: usize| {
            let key = self.get(&format!("{list}.member.{number}.Key"))?;
            let value = self.get(&format!("{list}.member.{number}.Value"))?;
            Some((key.to_owned(), value.to_owned()))
        };
        (1..).map_while(pair).collect()
    }
}

/// The members of a list.
#[must_use]
pub fn members(items: impl Iterator<Item = String>) -> String {
    items
        .flat_map(|item| ["<member>".to_owned(), item, "</member>".to_owned()])
        .collect()
}

/// The answer to an action.
#[must_use]
pub fn answer(action: &str, result: &str) -> Response {
    Response::xml(format!(
        "<{action}Response><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>request</RequestId></ResponseMetadata></{action}Response>"
    ))
}
