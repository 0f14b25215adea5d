//! The series that every request counts in. Their handles are kept by each thread: making labels and finding a series
//! by them takes longer than everything else that is counted.
//!
//! There is one for each route, method and status, and a few for each version of a model: as many as /metrics lists.

use std::cell::RefCell;
use std::collections::HashMap;

use inference::{Error, Model, Timing};
use metrics::{Counter, Histogram, counter, histogram};

/// A method and a status, and their answers.
type Answers = Vec<(&'static str, u16, Counter)>;

thread_local! {
    /// By the pattern of the route.
    static ROUTES: RefCell<HashMap<String, Answers>> = RefCell::default();
    /// By the model's name.
    static MODELS: RefCell<HashMap<String, Vec<Version>>> = RefCell::default();
}

/// The series of one version of a model.
struct Version {
    name: String,
    outcomes: Vec<(&'static str, Counter)>,
    stages: [Histogram; 3],
}

/// Counts an answer; `endpoint` is a pattern, not a path, which clients make up.
pub fn count_answer(endpoint: &str, method: &'static str, status: u16) {
    ROUTES.with_borrow_mut(|routes| {
        if !routes.contains_key(endpoint) {
            routes.insert(endpoint.to_owned(), Answers::new());
        }
        let Some(answers) = routes.get_mut(endpoint) else { return };
        let same = |(known, code, _): &&(&str, u16, Counter)| *known == method && *code == status;
        if let Some((_, _, counter)) = answers.iter().find(same) {
            return counter.increment(1);
        }
        let counter = counter!("api_requests_total", "endpoint" => endpoint.to_owned(), "method" => method,
            "status" => status.to_string());
        counter.increment(1);
        answers.push((method, status, counter));
    });
}

/// Counts an inference, and where the time of one that was answered went.
pub fn count_inference(model: &Model, answer: Result<&Timing, &Error>) {
    let (model, version) = (model.name(), model.version());
    MODELS.with_borrow_mut(|models| {
        if !models.contains_key(model) {
            models.insert(model.to_owned(), Vec::new());
        }
        let Some(versions) = models.get_mut(model) else { return };
        let place = versions.iter().position(|known| known.name == version).unwrap_or_else(|| {
            versions.push(Version::new(model, version));
            versions.len() - 1
        });
        let version = &mut versions[place];
        version.outcome(model, outcome(answer.err())).increment(1);
        if let Ok(timing) = answer {
            let times = [timing.preprocess, timing.queue, timing.compute];
            version.stages.iter().zip(times).for_each(|(stage, time)| stage.record(time));
        }
    });
}

fn outcome(error: Option<&Error>) -> &'static str {
    match error {
        None => "success",
        Some(Error::Overloaded) => "overloaded",
        Some(Error::Deadline) => "deadline",
        Some(Error::CallerLeft) => "cancelled",
        Some(Error::Runtime) => "error",
        Some(_) => "invalid",
    }
}

impl Version {
    fn new(model: &str, version: &str) -> Self {
        let stage = |stage: &'static str| histogram!("inference_stage_seconds", "model" => model.to_owned(), "stage" => stage);
        let stages = ["preprocess", "queue", "compute"].map(stage);
        Self { name: version.to_owned(), outcomes: Vec::new(), stages }
    }

    fn outcome(&mut self, model: &str, outcome: &'static str) -> &Counter {
        let place = self.outcomes.iter().position(|(known, _)| *known == outcome).unwrap_or_else(|| {
            let counter = counter!("inference_requests_total", "model" => model.to_owned(),
                "version" => self.name.clone(), "outcome" => outcome);
            self.outcomes.push((outcome, counter));
            self.outcomes.len() - 1
        });
        &self.outcomes[place].1
    }
}
