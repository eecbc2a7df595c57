//! Whether programs that a model writes can be graded here: the interpreter, and the sandbox around it.

use fmflow_grade::sandbox::Isolation;
use fmflow_grade::search::{InterpreterError, find_interpreter};

use super::DoctorFindings;
use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::text::escape::show_path;

/// The exit code of a benchmark whose programs cannot be run.
const EXIT: u8 = 8;

/// Reports the interpreter and the sandbox. They stop nothing but benchmarks that run programs.
///
/// # Errors
/// Says what is missing.
pub(super) fn inspect_grading(findings: &mut DoctorFindings) -> Result<(), String> {
    let missing = match find_interpreter(Isolation::Enforced) {
        Ok(found) => {
            findings.add_fine("python", format!("{}, {}", found.version, show_path(&found.program)));
            findings.add_fine("sandbox", "works: programs that models write can be graded");
            return Ok(());
        }
        Err(error) => error,
    };
    let name = match missing {
        InterpreterError::None(_) => "python",
        InterpreterError::NoSandbox(_) => "sandbox",
    };
    findings.add_note(name, format!("{missing}; benchmarks that run programs need it"));
    Err(missing.to_string())
}

/// Reports a pipeline that runs programs on a machine that cannot.
pub(super) fn inspect_benchmarks(findings: &mut DoctorFindings, pipeline: &Pipeline, missing: &str) {
    for stage in &pipeline.stages {
        let StageConfig::Evaluate(config) = &stage.config else { continue };
        let runs = config.benchmarks.iter().find(|benchmark| benchmark.layout.runs_programs());
        match runs {
            Some(benchmark) if !config.unsafe_no_sandbox => {
                let what = format!("benchmark `{}` runs programs: {missing}", benchmark.name);
                findings.add_obstacle(stage.name.clone(), what, EXIT);
            }
            _ => {}
        }
    }
}
