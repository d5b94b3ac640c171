//! Counts the calls to AWS, each attempt for itself, as they go over the wire.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::FinalizerInterceptorContextRef, dyn_dispatch_hint},
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;

use crate::metrics::{CallOutcome, Metrics};

/// Tells the metrics of every attempt.
#[derive(Clone, Debug)]
pub struct Counted(pub Metrics);

#[dyn_dispatch_hint]
impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Metadata>() {
            let status = context.response().map(|response| response.status().as_u16());
            self.0.called(call.service(), call.name(), outcome(status));
        }
        Ok(())
    }
}

fn outcome(status: Option<u16>) -> CallOutcome {
    match status {
        None => CallOutcome::Unreachable,
        Some(200..=399) => CallOutcome::Ok,
        Some(401 | 403) => CallOutcome::Denied,
        Some(404) => CallOutcome::NotFound,
        Some(429 | 503) => CallOutcome::Throttled,
        Some(_) => CallOutcome::Failed,
    }
}
