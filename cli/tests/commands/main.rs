//! The program from the outside: what it prints, what it writes, and how it fails.

mod bench;
mod bench_records;
mod candidates;
mod class_order;
#[cfg(unix)]
mod conformance;
mod fit;
mod losses;
mod oracle;
mod preference;
mod program;
mod ranks;
mod score;
mod spectra;
mod train;
