//! The `pannier` binary: everything is in [`pannier::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    pannier::cli::main()
}
