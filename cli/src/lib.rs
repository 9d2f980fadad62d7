//! The command line: `surprisal SUBCOMMAND`.
//!
//! Exit status 0; 2 for a bad argument or bad input, with one line on stderr; 1 for anything else.
//!
//! The program is [`main`]; [`oracle_answer`] is one line of its oracle without a process around it, for fuzzers.

#![deny(missing_docs)]

mod arrays;
mod bench;
mod device;
mod devices;
mod dse;
mod dsmi;
mod features;
mod filter;
mod fit;
mod loss;
mod numerals;
mod oracle;
mod output;
mod parallel;
mod plot;
mod preference;
mod progress;
mod report;
mod scale;
mod score;
mod size;
mod spectrum;
mod teacher;
mod train;

use clap::error::{ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use std::borrow::Cow;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use surprisal::printable;

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
struct Global {
    /// Print one JSON object on stdout and nothing else; what is no number is "nan", "inf" or "-inf"
    #[arg(long, global = true, help_heading = "General")]
    json: bool,
    /// Threads to use, at most 4 a core or 64; 1 starts none [default: all cores, or
    /// RAYON_NUM_THREADS]
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = numerals::from_one::<usize>,
        allow_hyphen_values = true,
        help_heading = "General"
    )]
    threads: Option<usize>,
    /// Print no progress, and no notes on stderr
    #[arg(long, global = true, help_heading = "General")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Bench),
    Devices(devices::Devices),
    Dse(dse::Dse),
    Dsmi(dsmi::Dsmi),
    Fit(Box<fit::Fit>),
    Loss(Box<loss::Loss>),
    Oracle(oracle::Oracle),
    Preference(Box<preference::Preference>),
    Score(Box<score::Score>),
    Spectrum(spectrum::Spectrum),
    Train(train::Train),
}

/// What ends the program.
#[derive(Debug)]
enum Failure {
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

/// The program, with the arguments of the process.
pub fn main() -> ExitCode {
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
                "a subcommand is missing, expected bench, devices, dse, dsmi, fit, loss, oracle, preference, score, spectrum or train; see --help"
                    .into(),
                2,
            ),
            ErrorKind::InvalidUtf8 => (not_utf8(std::env::args_os()), 2),
            _ => (refused(&error), 2),
        },
    };
    // Where stderr is closed too, the status says it alone.
    let _ = writeln!(std::io::stderr(), "error: {}", printable(&message));
    ExitCode::from(status)
}

/// What `surprisal oracle` writes for a line, without the end of the line: a JSON object with a value or an error,
/// whatever the bytes are.
///
/// ```
/// let line = br#"{"function": "entropy", "logits": [[0, 0]]}"#;
/// assert_eq!(surprisal_cli::oracle_answer(line), r#"{"value":[0.6931471805599453]}"#);
/// assert!(surprisal_cli::oracle_answer(b"{").starts_with(r#"{"error":"#));
/// ```
pub fn oracle_answer(line: &[u8]) -> String {
    oracle::respond(line).to_string()
}

fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    parallel::in_pool(global.threads, global.quiet, || match cli.command {
        Command::Bench(bench) => bench.run(&global),
        Command::Devices(devices) => devices.run(&global),
        Command::Dse(dse) => dse.run(&global),
        Command::Dsmi(dsmi) => dsmi.run(&global),
        Command::Fit(fit) => fit.run(&global),
        Command::Loss(loss) => loss.run(&global),
        Command::Oracle(oracle) => oracle.run(),
        Command::Preference(preference) => preference.run(&global),
        Command::Score(score) => score.run(&global),
        Command::Spectrum(spectrum) => spectrum.run(&global),
        Command::Train(train) => train.run(&global),
    })
}

/// What is wrong with the arguments, on one line.
fn refused(error: &clap::Error) -> String {
    // clap leaves out what a terminal obeys: a reader would look for a name that is not there.
    for (_, value) in error.context() {
        let values = match value {
            ContextValue::String(value) => std::slice::from_ref(value),
            ContextValue::Strings(values) => values,
            _ => continue,
        };
        for value in values {
            if let Cow::Owned(seen) = printable(value) {
                return format!(
                    "the argument \"{seen}\" has characters that cannot be seen, expected an option or \
                     value without them"
                );
            }
        }
    }
    first_paragraph(&error.to_string())
}

/// clap explains itself over many lines: the first paragraph, on one, without its `error: `.
fn first_paragraph(message: &str) -> String {
    let lines = message.lines().take_while(|line| !line.trim().is_empty());
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_string()
}

/// Which argument is no text.
fn not_utf8(arguments: impl Iterator<Item = OsString>) -> String {
    let mut before = String::new();
    for argument in arguments {
        match argument.into_string() {
            Ok(text) => before = text,
            Err(argument) => {
                let text = argument.to_string_lossy();
                let after = match before.strip_prefix("--") {
                    Some(_) => format!("the value of {before}"),
                    None => "an argument".into(),
                };
                return format!("{after} is {text:?} with bytes that are not UTF-8, expected text");
            }
        }
    }
    "an argument is not UTF-8, expected text".into()
}
