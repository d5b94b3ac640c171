//! What an error says to the user of a command: each cause once, and the words of the API server without what surrounds them.

/// An error with its causes, each said once: some libraries repeat the cause in their own message.
#[must_use]
pub fn said(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let (cause, is_last) = match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => (of_server(status), true),
            _ => (cause.to_string(), false),
        };
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        if is_last {
            break;
        }
    }
    text
}

/// The message of the API server. It does not know the path of a kind whose definition is missing.
fn of_server(status: &kube::core::Status) -> String {
    if status.code == 404 && status.message.starts_with("404 page not found") {
        return "the API server does not know BucketReplications and AWSAccounts: install the chart, which has their definitions, or print them with the command crd".to_owned();
    }
    if status.message.is_empty() {
        return format!("the API server answered {} {}", status.code, status.reason);
    }
    status.message.clone()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn refused(message: &str, code: u16) -> anyhow::Error {
        let status: kube::core::Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "message": message, "reason": "Forbidden", "code": code,
        }))
        .expect("a status");
        kube::Error::Api(Box::new(status)).into()
    }

    #[test]
    fn an_error_of_the_api_server_is_its_message() {
        let forbidden = "bucketreplications.bucketops.dev is forbidden: User \"u\" cannot list";
        let error = Err::<(), _>(refused(forbidden, 403))
            .context("the BucketReplications can't be listed")
            .expect_err("an error");
        assert_eq!(
            said(&error),
            format!("the BucketReplications can't be listed: {forbidden}")
        );
        let missing = said(&refused("404 page not found", 404));
        assert!(missing.contains("install the chart"), "{missing}");
        assert_eq!(
            said(&refused("", 500)),
            "the API server answered 500 Forbidden"
        );
    }
}
