//! The command line: `surprisal SUBCOMMAND`.
//!
//! Exit status 0; 2 for a bad argument or bad input, with one line on stderr; 1 for anything else.

mod arrays;
mod bench;
mod device;
mod devices;
mod dse;
mod dsmi;
mod features;
mod loss;
mod output;
mod parallel;
mod plot;
mod progress;
mod random;
mod report;
mod scale;
mod size;
mod spectrum;
mod teacher;
mod train;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(Args)]
pub struct Global {
    /// Print one JSON object on stdout and nothing else
    #[arg(long, global = true)]
    json: bool,
    /// Threads to use; all cores by default
    #[arg(long, global = true, value_name = "N", allow_hyphen_values = true)]
    threads: Option<usize>,
    /// Print no progress
    #[arg(long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Bench),
    Devices(devices::Devices),
    Dse(dse::Dse),
    Dsmi(dsmi::Dsmi),
    Loss(Box<loss::Loss>),
    Spectrum(spectrum::Spectrum),
    Train(train::Train),
}

/// What ends the program.
#[derive(Debug)]
pub enum Failure {
    /// A bad argument or bad input: exit 2.
    Input(String),
    /// Anything else: exit 1.
    Other(String),
}

impl From<surprisal::Error> for Failure {
    fn from(error: surprisal::Error) -> Self {
        let message = error.to_string();
        match error {
            #[cfg(feature = "gpu")]
            surprisal::Error::Gpu(_) => Failure::Other(message),
            surprisal::Error::Io { action, .. } if !matches!(action, "open" | "read" | "map") => {
                Failure::Other(message)
            }
            _ => Failure::Input(message),
        }
    }
}

fn main() -> ExitCode {
    let (message, status) = match Cli::try_parse() {
        Ok(cli) => match run(cli) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(Failure::Input(message)) => (message, 2),
            Err(Failure::Other(message)) => (message, 1),
        },
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                return match output::print_text(&error.to_string()) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(_) => ExitCode::FAILURE,
                };
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => (
                "a subcommand is missing, expected bench, devices, dse, dsmi, loss, spectrum or train; see --help"
                    .into(),
                2,
            ),
            _ => (first_paragraph(&error.to_string()), 2),
        },
    };
    // Where stderr is closed too, the status says it alone.
    let _ = writeln!(std::io::stderr(), "error: {}", message.replace('\n', " "));
    ExitCode::from(status)
}

fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    with_threads(global.threads, || match cli.command {
        Command::Bench(bench) => bench.run(&global),
        Command::Devices(devices) => devices.run(&global),
        Command::Dse(dse) => dse.run(&global),
        Command::Dsmi(dsmi) => dsmi.run(&global),
        Command::Loss(loss) => loss.run(&global),
        Command::Spectrum(spectrum) => spectrum.run(&global),
        Command::Train(train) => train.run(&global),
    })
}

/// clap explains itself over many lines: the first paragraph, on one, without its `error: `.
fn first_paragraph(message: &str) -> String {
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_string()
}

/// Runs in a pool of so many threads.
fn with_threads(
    threads: Option<usize>,
    run: impl FnOnce() -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    let Some(threads) = threads else { return run() };
    if threads == 0 {
        return Err(Failure::Input("--threads is 0, expected at least 1".into()));
    }
    #[cfg(feature = "parallel")]
    {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool =
            pool.map_err(|error| Failure::Other(format!("cannot start threads: {error}")))?;
        pool.install(run)
    }
    #[cfg(not(feature = "parallel"))]
    match threads {
        1 => run(),
        _ => Err(Failure::Input("--threads needs a build with the feature parallel".into())),
    }
}
