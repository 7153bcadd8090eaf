//! `headtrail config`

use std::path::Path;

use super::{Config, DEFAULT_PATH, Problems, problems, reference};
use crate::cli::{self, ConfigCommand};
use crate::exit::{Failure, print};

/// Checks a config file, or tells what can be in one.
pub(crate) fn run(options: &cli::Config) -> Result<(), Failure> {
    match &options.command {
        ConfigCommand::Check { config, show } => check(config.as_deref(), *show),
        ConfigCommand::Keys => print(&reference::page()),
    }
}

fn check(path: Option<&Path>, show: bool) -> Result<(), Failure> {
    let config = Config::load_or_default(path)?;
    for warning in config.ship.iter().flat_map(super::Ship::warnings) {
        eprintln!("headtrail: warning: {warning}");
    }
    let file = path.unwrap_or(Path::new(DEFAULT_PATH));
    let absent = if file.exists() { "" } else { " (not there: every key has its default)" };
    let told = format!("{}: ok{absent}\n", problems::shown(&file.to_string_lossy()));
    // As a comment, so that the whole is a config file again.
    print(&if show { format!("# {told}\n{}", config.shown()) } else { told })
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        // From column 1, so that editors find the places.
        Self::usage(format_args!("the config cannot be used\n{problems}"))
    }
}
