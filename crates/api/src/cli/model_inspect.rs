//! `modelgate model inspect`

use std::path::PathBuf;

use clap::Args;
use inference::{Examination, Registry, TensorSpec, printable};

use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;

/// What to look at.
#[derive(Args, Debug)]
pub struct Inspect {
    /// An ONNX file, in the repository or not.
    file: PathBuf,
}

impl Inspect {
    /// Runs the command: fails where the model would not load.
    pub fn run(self, settings: &Settings) -> CommandResult {
        let registry = Registry::start(start::inference(settings));
        let Examination { inspection, files, size, outcome } = registry.examine(&self.file)?;
        print(&format!("format      ONNX, version {}", inspection.ir_version));
        if !inspection.producer.is_empty() {
            print(&format!("written by  {}", printable(&inspection.producer)));
        }
        for (domain, version) in &inspection.operator_sets {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            print(&format!("operators   {} version {version}", printable(domain)));
        }
        print(&format!(
            "size        {size} bytes in {} files, {} constants",
            files.len(),
            inspection.initializers
        ));
        for (file, sha256) in &files {
            print(&format!("file        {sha256}  {}", printable(file)));
        }
        for ((domain, operator), count) in &inspection.operators {
            let dot = if domain.is_empty() { "" } else { "." };
            print(&format!("  {count:>6} × {}{dot}{}", printable(domain), printable(operator)));
        }
        match outcome {
            Ok((inputs, outputs)) => {
                inputs.iter().for_each(|spec| print_spec("input ", spec));
                outputs.iter().for_each(|spec| print_spec("output", spec));
                print("loads       yes");
                Ok(())
            }
            Err(reason) => {
                print(&format!("loads       no: {}", printable(&reason)));
                Err("the model would not be served".into())
            }
        }
    }
}

fn print_spec(kind: &str, spec: &TensorSpec) {
    let shape: Vec<String> = spec.shape.iter().map(i64::to_string).collect();
    print(&format!("{kind}      {} {} [{}]", printable(&spec.name), spec.datatype, shape.join(", ")));
}
