//! `headtrail ship replay`: dead letters again.

use headtrail_ship::dead_letter::DeadLetters;
use headtrail_ship::replay;
use headtrail_ship::shipper;

use crate::cli::{self, ShipCommand};
use crate::config::Config;
use crate::exit::{Failure, print};
use crate::run::destination;

/// Runs.
pub(crate) fn run(options: &cli::Ship) -> Result<(), Failure> {
    let ShipCommand::Replay { config, data_dir, names } = &options.command;
    let config = Config::load_or_default(config.as_deref())?;
    let data_dir = data_dir.clone().unwrap_or_else(|| config.run.data_dir.clone());
    let there = |error| Failure::refused(format_args!("{}: {error}", data_dir.display()));
    let names = if names.is_empty() { DeadLetters::names(&data_dir).map_err(there)? } else { names.clone() };
    if names.is_empty() {
        eprintln!("headtrail: there are no dead letters");
    }
    let mut refused = 0;
    for name in names {
        let found = config.ship.iter().find(|ship| ship.name() == name);
        let settings = destination(
            found.ok_or_else(|| Failure::usage(format_args!("the config has no section [ship.{name}]")))?,
        )?;
        let sink =
            shipper::sink(&settings).map_err(|error| Failure::usage(format_args!("ship.{name}: {error}")))?;
        let tell = Box::new(|words: &str| eprintln!("headtrail: {words}"));
        let done = replay::replay(&settings, &data_dir, sink, tell).map_err(there)?;
        print(&format!("{name}: {} arrived, {} refused again\n", done.stored, done.refused))?;
        refused += done.refused + done.unreadable;
    }
    if refused > 0 {
        return Err(Failure::no(format_args!("{refused} documents did not arrive")));
    }
    Ok(())
}
