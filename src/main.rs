//! The `tidegate` program: the command line of the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::main()
}
