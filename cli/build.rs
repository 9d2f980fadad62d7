//! Tells the program which compiler built it, for the files of `surprisal bench --record`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let Some(compiler) = std::env::var_os("RUSTC") else { return };
    // A compiler that does not tell is not written down.
    let Ok(output) = Command::new(compiler).arg("--version").output() else { return };
    if let Some(line) = String::from_utf8_lossy(&output.stdout).lines().next() {
        println!("cargo::rustc-env=SURPRISAL_RUSTC={line}");
    }
}
