//! The binary: command line, wiring, output.
//!
//! Place in the data's way: around it. `watch` joins capture, assembly, redaction and a writer in one thread: what
//! cannot be written in time stays in the ring, and what the ring cannot take is counted by the kernel's side.
#![forbid(unsafe_code)]

mod cli;
mod doctor;
mod exit;
mod key;
#[cfg(test)]
mod planted_tests;
mod processes;
mod signals;
mod summary;
mod text;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    // clap ends with 2 for what it does not know and with 0 for help.
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Watch(options) => watch::run(&options),
        Command::Doctor => doctor::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("headtrail: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
