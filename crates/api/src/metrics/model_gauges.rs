//! Metrics of models, read from their statistics: of each version its own, and of all together the waiting calls and
//! the rows of each run.

use std::collections::BTreeMap;
use std::fmt::Write;

use inference::{Model, Statistics};

use super::{Line, render};
use crate::app::App;

const WAITING: &str = "inference_queue_depth";
const RUNS: &str = "inference_batch_size";
/// Upper bounds of the buckets, in rows; larger runs are counted in the last, which has none.
const BUCKETS: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

#[derive(Debug, Default)]
struct Sums {
    waiting: usize,
    /// Runs, by bucket.
    counted: [u64; BUCKETS.len()],
    /// All runs.
    all: u64,
    rows: u64,
}

impl Sums {
    fn add(&mut self, waiting: usize, statistics: &Statistics) {
        self.waiting += waiting;
        for batch in &statistics.batches {
            if let Some(bucket) = BUCKETS.iter().position(|most| batch.rows <= *most) {
                self.counted[bucket] += batch.compute_infer.count;
            }
        }
        self.all += statistics.execution_count;
        self.rows += statistics.inference_count;
    }

    fn write_runs(&self, model: &str, text: &mut String) -> std::fmt::Result {
        let mut below = 0;
        for (most, count) in BUCKETS.iter().zip(self.counted) {
            below += count;
            writeln!(text, "{RUNS}_bucket{{model=\"{model}\",le=\"{most}\"}} {below}")?;
        }
        // Read while runs go on: no bucket has more than all of them.
        let all = self.all.max(below);
        writeln!(text, "{RUNS}_bucket{{model=\"{model}\",le=\"+Inf\"}} {all}")?;
        writeln!(text, "{RUNS}_sum{{model=\"{model}\"}} {}", self.rows)?;
        writeln!(text, "{RUNS}_count{{model=\"{model}\"}} {all}")
    }
}

/// The lines of every model that is served.
pub fn text(app: &App) -> String {
    let (mut models, mut versions) = (BTreeMap::<String, Sums>::new(), Vec::new());
    for status in app.registry.models() {
        let Ok(model) = app.registry.find(&status.name, Some(&status.version)) else { continue };
        let statistics = model.statistics();
        versions.extend(of_version(&model, &statistics));
        models.entry(status.name).or_default().add(model.queue_depth(), &statistics);
    }
    // Lines of one name stand together; beyond that they keep their order.
    versions.sort_by(|one, other| one.name().cmp(other.name()));
    let mut text = render(&versions);
    // A text takes all that is written to it.
    let _ = write(&models, &mut text);
    text
}

fn of_version(model: &Model, statistics: &Statistics) -> [Line; 4] {
    let labels = format!("model=\"{}\",version=\"{}\"", model.name(), model.version());
    let cache =
        |what, count: u64| Line::counter(format!("inference_cache_{what}_total{{{labels}}}"), count as f64);
    let (provider, fallback) = (model.execution().provider, model.execution().fallback().is_some());
    let provided = format!("{labels},provider=\"{provider}\",fallback=\"{fallback}\"");
    [
        cache("hits", statistics.cache_hit.count),
        cache("misses", statistics.cache_miss.count),
        Line::gauge(format!("inference_execution_provider{{{provided}}}"), 1.0),
        Line::counter(format!("inference_overdue_runs_total{{{labels}}}"), statistics.overdue as f64),
    ]
}

/// Lines of one name stand together.
fn write(models: &BTreeMap<String, Sums>, text: &mut String) -> std::fmt::Result {
    writeln!(text, "# TYPE {WAITING} gauge")?;
    for (model, sums) in models {
        writeln!(text, "{WAITING}{{model=\"{model}\"}} {}", sums.waiting)?;
    }
    writeln!(text, "# TYPE {RUNS} histogram")?;
    models.iter().try_for_each(|(model, sums)| sums.write_runs(model, text))
}

#[cfg(test)]
mod tests {
    use inference::{BatchStatistics, Measure};

    use super::*;

    #[test]
    fn versions_count_together_and_runs_by_their_rows() {
        let batch = |rows, count| BatchStatistics {
            rows,
            compute_input: Measure::default(),
            compute_infer: Measure { count, ..Measure::default() },
            compute_output: Measure::default(),
        };
        let mut sums = Sums::default();
        let batches = vec![batch(3, 2), batch(256, 1)];
        // One run had 300 rows.
        sums.add(
            3,
            &Statistics { execution_count: 4, inference_count: 562, batches, ..Statistics::default() },
        );
        let batches = vec![batch(1, 5)];
        sums.add(4, &Statistics { execution_count: 5, inference_count: 5, batches, ..Statistics::default() });
        let mut text = String::new();
        assert!(write(&BTreeMap::from([("m".to_owned(), sums)]), &mut text).is_ok());
        for line in [
            "inference_queue_depth{model=\"m\"} 7\n",
            "inference_batch_size_bucket{model=\"m\",le=\"1\"} 5\n",
            "inference_batch_size_bucket{model=\"m\",le=\"2\"} 5\n",
            "inference_batch_size_bucket{model=\"m\",le=\"4\"} 7\n",
            "inference_batch_size_bucket{model=\"m\",le=\"256\"} 8\n",
            "inference_batch_size_bucket{model=\"m\",le=\"+Inf\"} 9\n",
            "inference_batch_size_sum{model=\"m\"} 567\n",
            "inference_batch_size_count{model=\"m\"} 9\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
