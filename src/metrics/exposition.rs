//! The two text formats of metrics: `OpenMetrics`, and the older one that every scraper reads ("Exposition formats" in Prometheus's documentation).

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Text,
}

impl Format {
    /// The one that a client accepts: `OpenMetrics` if it names that, as Prometheus does.
    #[must_use]
    pub fn accepted(accept: Option<&str>) -> Self {
        let names = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if names { Self::OpenMetrics } else { Self::Text }
    }

    /// For the header Content-Type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What is written as `OpenMetrics`, in the older format: a counter is described under the name of its samples, and there are neither units nor an end.
pub(super) fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let counters: Vec<_> = open
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    for line in open.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let described = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
            let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
            counters
                .contains(&name)
                .then(|| format!("{kind}{name}_total {rest}"))
        });
        text.push_str(described.as_deref().unwrap_or(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_has_its_own_names_of_counters_and_no_end() {
        let open = "# HELP a_calls Calls.\n# TYPE a_calls counter\na_calls_total{b=\"c d\"} 1\n# HELP a_wait_seconds Wait.\n# TYPE a_wait_seconds gauge\n# UNIT a_wait_seconds seconds\na_wait_seconds 2\n# EOF\n";
        assert_eq!(
            plain(open),
            "# HELP a_calls_total Calls.\n# TYPE a_calls_total counter\na_calls_total{b=\"c d\"} 1\n# HELP a_wait_seconds Wait.\n# TYPE a_wait_seconds gauge\na_wait_seconds 2\n"
        );
    }

    #[test]
    fn who_names_open_metrics_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
        for accept in [Some("text/plain"), Some("*/*"), None] {
            assert_eq!(Format::accepted(accept), Format::Text);
        }
    }
}
