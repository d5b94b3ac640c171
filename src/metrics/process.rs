//! What the process uses, under the names that every client library of Prometheus gives it ("Process metrics" in its documentation).

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

/// Memory, CPU time, descriptors and start of this process; none where there is no `/proc`.
#[derive(Debug)]
pub(super) struct Process;

#[cfg(not(target_os = "linux"))]
impl Collector for Process {
    fn encode(&self, _: DescriptorEncoder<'_>) -> std::fmt::Result {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        // What can't be read is left out: a metric is no reason to serve none.
        let Ok(used) = linux::used() else {
            return Ok(());
        };
        used.encode(&mut encoder)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::{ProcResult, process::LimitValue};
    use prometheus_client::{
        encoding::{DescriptorEncoder, EncodeMetric},
        metrics::{TypedMetric, counter::ConstCounter, gauge::ConstGauge},
        registry::Unit,
    };

    #[allow(clippy::cast_precision_loss, reason = "ticks and seconds are small")]
    fn seconds(ticks: u64) -> f64 {
        ticks as f64 / procfs::ticks_per_second() as f64
    }

    pub(super) struct Used {
        cpu_seconds: f64,
        started: f64,
        resident_bytes: u64,
        virtual_bytes: u64,
        open_descriptors: usize,
        most_descriptors: Option<u64>,
    }

    pub(super) fn used() -> ProcResult<Used> {
        let this = procfs::process::Process::myself()?;
        let stat = this.stat()?;
        let most = this.limits()?.max_open_files.soft_limit;
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let booted = procfs::boot_time_secs()? as f64;
        Ok(Used {
            cpu_seconds: seconds(stat.utime + stat.stime),
            started: booted + seconds(stat.starttime),
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            open_descriptors: this.fd_count()?,
            most_descriptors: match most {
                LimitValue::Value(most) => Some(most),
                LimitValue::Unlimited => None,
            },
        })
    }

    impl Used {
        #[allow(
            clippy::cast_precision_loss,
            reason = "gauges are floating-point numbers"
        )]
        pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
            let cpu = ConstCounter::new(self.cpu_seconds);
            let metric = encoder.encode_descriptor(
                "process_cpu",
                "User and system CPU time",
                Some(&Unit::Seconds),
                ConstCounter::<f64>::TYPE,
            )?;
            cpu.encode(metric)?;
            let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: f64| {
                let kind = ConstGauge::<f64>::TYPE;
                let metric = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
                ConstGauge::new(value).encode(metric)
            };
            gauge(
                "process_start_time",
                "Start of the process since 1970",
                Some(Unit::Seconds),
                self.started,
            )?;
            gauge(
                "process_resident_memory",
                "Resident memory",
                Some(Unit::Bytes),
                self.resident_bytes as f64,
            )?;
            gauge(
                "process_virtual_memory",
                "Virtual memory",
                Some(Unit::Bytes),
                self.virtual_bytes as f64,
            )?;
            gauge(
                "process_open_fds",
                "Open file descriptors",
                None,
                self.open_descriptors as f64,
            )?;
            if let Some(most) = self.most_descriptors {
                gauge(
                    "process_max_fds",
                    "Most open file descriptors",
                    None,
                    most as f64,
                )?;
            }
            Ok(())
        }
    }
}
