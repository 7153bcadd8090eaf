//! The binary: command line, wiring, output.
//!
//! Place in the data's way: around it. `watch` joins capture, assembly, redaction and a writer in one thread: what
//! cannot be written in time stays in the ring, and what the ring cannot take is counted by the kernel's side.
#![forbid(unsafe_code)]

mod cli;
mod config;
mod doctor;
mod exit;
mod export;
mod journal_cat;
mod keeper;
mod key;
mod keylog;
mod losses;
mod memory;
mod metrics;
mod names;
mod notify;
#[cfg(test)]
mod planted_tests;
mod processes;
mod read;
mod recorder;
mod run;
mod sandbox;
mod setup;
mod ship;
mod ships;
mod signals;
mod sink;
mod snapshot;
mod status;
mod summary;
mod text;
mod verify;
mod watch;
mod web;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Failure;

/// It gives back what is freed; the system's keeps what lies between pieces in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // clap ends with 2 for what it does not know and with 0 for help.
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(options) => run::run(&options),
        Command::Watch(options) => watch::run(&options),
        Command::Read(options) => read::run(&options),
        Command::Journal(options) => journal_cat::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Doctor => doctor::run(),
        Command::Setup(options) => setup::run(&options),
        Command::Ship(options) => ship::run(&options),
        Command::Config(options) => config::run(&options),
        Command::Status(options) => status::run(&options),
        Command::MetricsPage => {
            print!("{}", metrics::page());
            Ok(())
        }
        Command::HelperExport => export::helper::serve(),
        Command::HelperNames => names::serve().map_err(Failure::refused),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("headtrail: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
