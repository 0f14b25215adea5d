//! Metrics of this process: memory, processor time, file descriptors, database connections.

use super::Line;
use crate::app::App;

/// What the system does not provide is left out.
pub fn gauges(app: &App) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    if let Some(bytes) = resident_bytes() {
        lines.push(Line::gauge("process_resident_memory_bytes", bytes as f64));
    }
    if let Some(seconds) = cpu_seconds() {
        lines.push(Line::counter("process_cpu_seconds_total", seconds));
    }
    for (name, folder) in [("process_open_fds", "/proc/self/fd"), ("process_threads", "/proc/self/task")] {
        if let Ok(entries) = std::fs::read_dir(folder) {
            lines.push(Line::gauge(name, entries.count() as f64));
        }
    }
    let connections = app.store.connections();
    for (state, count) in [("used", connections.used), ("idle", connections.idle)] {
        let series = format!("storage_pool_connections{{state=\"{state}\"}}");
        lines.push(Line::gauge(series, f64::from(count)));
    }
    lines
}

/// Linux: the second number of `statm`, in pages.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Linux: the fourteenth and fifteenth field of `stat`, in clock ticks; the second one is in brackets and may have
/// spaces.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut ticks = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let (user, system): (u64, u64) = (ticks.next()?.parse().ok()?, ticks.next()?.parse().ok()?);
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_tells() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20), "{:?}", resident_bytes());
        assert!(cpu_seconds().is_some_and(|seconds| (0.0..1e6).contains(&seconds)), "{:?}", cpu_seconds());
    }
}
