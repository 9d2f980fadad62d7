//! `metrics.jsonl`: what happens, as it happens.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::record::{self, Line, Run};
use crate::Failure;
use crate::output::write_whole;

/// The file, open at its end.
pub struct Metrics {
    file: File,
    path: PathBuf,
}

impl Metrics {
    /// An empty one.
    pub fn create(out: &Path) -> Result<Self, Failure> {
        let path = out.join("metrics.jsonl");
        let file = File::create(&path).map_err(|error| cannot("create", &path, &error))?;
        Ok(Self { file, path })
    }

    /// The one of a run that goes on after a step, to so many steps in all, and what it says about the
    /// run. What came later is left out, and so is what the end of the run before has measured at a step
    /// that is not due.
    pub fn go_on(
        out: &Path,
        step: usize,
        steps: usize,
        is_due: impl Fn(usize) -> bool,
    ) -> Result<(Self, Option<Run>), Failure> {
        let path = out.join("metrics.jsonl");
        let mut lines = read(&path)?;
        for line in &mut lines {
            if let Line::Run(run) = line {
                run.steps = steps;
            }
        }
        let mut measured = None;
        lines.retain(|line| match line {
            Line::Run(_) => true,
            Line::Step(line) => line.step <= step,
            Line::Measurement(line) => {
                let before = measured.replace(line.step);
                line.step <= step && is_due(line.step) && before != measured
            }
            Line::Finish(_) => false,
        });
        let run = lines.iter().find_map(|line| match line {
            Line::Run(run) => Some(run.clone()),
            _ => None,
        });
        let text: String = lines.iter().map(Line::write).collect();
        write_whole(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.map_err(|error| cannot("open", &path, &error))?;
        Ok((Self { file, path }, run))
    }

    /// One line, at once in the file.
    pub fn write(&mut self, line: &Line) -> Result<(), Failure> {
        let written = self.file.write_all(line.write().as_bytes());
        written.map_err(|error| cannot("write", &self.path, &error))
    }

    /// All lines so far.
    pub fn lines(&self) -> Result<Vec<Line>, Failure> {
        read(&self.path)
    }
}

fn read(path: &Path) -> Result<Vec<Line>, Failure> {
    let bytes = fs::read(path)
        .map_err(|error| Failure::Input(format!("cannot read {}: {error}", path.display())))?;
    Ok(record::read(&bytes, &path.display().to_string())?.0)
}

fn cannot(action: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!("cannot {action} {}: {error}", path.display()))
}
