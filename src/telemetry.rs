//! Log lines on standard error, for people or as JSON, and traces to an OpenTelemetry collector, if one is set: a span for each visit, and in
//! it one for each attempt of a call to AWS.

use std::{io::stderr, time::Duration};

use anyhow::Context;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig, WithTonicConfig, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer, filter::Targets, fmt, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

use crate::{
    config::{LogFormat, Settings},
    replication::names::InstallationId,
};

/// An export that takes longer is given up.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// What has to be ended so that no span is lost.
#[derive(Debug, Default)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Starts logging, and exporting if an endpoint is set.
    ///
    /// # Errors
    /// When the filter or the endpoint can't be read, or logging was started before.
    pub fn start(settings: &Settings) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&settings.log_filter)?;
        let lines = fmt::layer().with_writer(stderr);
        let lines = match settings.log_format {
            LogFormat::Text => lines.with_ansi(false).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        // An empty variable is one that is not set (OpenTelemetry's "Environment Variable Specification").
        let endpoint = settings
            .otlp_endpoint
            .as_deref()
            .filter(|endpoint| !endpoint.is_empty());
        let provider = endpoint
            .map(|endpoint| provider(endpoint, settings))
            .transpose()?;
        let spans = provider.as_ref().map(exported);
        let started = tracing_subscriber::registry()
            .with(spans)
            .with(lines.with_filter(filter))
            .try_init();
        started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))?;
        Ok(Self(provider))
    }

    /// Exports what is left.
    pub fn end(self) {
        if let Some(Err(error)) = self
            .0
            .map(|provider| provider.shutdown_with_timeout(EXPORT_TIMEOUT))
        {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

fn provider(endpoint: &str, settings: &Settings) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT);
    let exporter = if endpoint.starts_with("https:") {
        exporter.with_tls_config(ClientTlsConfig::new().with_native_roots())
    } else {
        exporter
    };
    let exporter = exporter
        .build()
        .with_context(|| format!("spans can't be exported to {endpoint}"))?;
    let installation = settings
        .installation_id
        .as_ref()
        .map(InstallationId::to_string);
    let installation =
        installation.map(|installation| KeyValue::new("bucketops.installation", installation));
    let resource = Resource::builder()
        .with_service_name("bucket-replication-operator")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(installation)
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

/// The operator's own spans, whatever the filter of log lines.
fn exported<S: Subscriber + for<'a> LookupSpan<'a>>(
    provider: &SdkTracerProvider,
) -> impl Layer<S> + use<S> {
    let ours = Targets::new().with_target("bucket_replication_operator", Level::INFO);
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("bucket-replication-operator"))
        .with_filter(ours)
}
