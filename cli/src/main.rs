use std::process::ExitCode;

fn main() -> ExitCode {
    surprisal_cli::main()
}
