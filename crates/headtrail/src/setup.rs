//! `headtrail setup`: tells a cluster, or what shows its documents, about ours before they come.

use std::fs;
use std::path::Path;

use headtrail_record::printable::Printable;
use headtrail_ship::http::Client;
use headtrail_ship::settings::{Auth, Secret, Timeouts, Tls};
use headtrail_ship::setup::{self, Options, Outcome, Step};
use headtrail_ship::sink::Trouble;
use serde_json::Value;
use ureq::http::{HeaderName, Method};

use crate::cli;
use crate::exit::{Failure, print};

/// Longest answer; the mappings of many data streams are long.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Runs.
pub(crate) fn run(options: &cli::Setup) -> Result<(), Failure> {
    let limits = Options {
        retention_days: options.retention_days,
        rollover_days: options.rollover_days,
        rollover_gb: options.rollover_gb,
    };
    let steps = setup::plan(options.target, &limits);
    if options.dry_run {
        return print(&setup::print(&steps));
    }
    let mut client =
        Client::new(std::slice::from_ref(&options.url), &auth(options)?, &tls(options)?, Timeouts::default())
            .map_err(Failure::usage)?;
    let mut open = 0;
    for step in &steps {
        let outcome = step.apply(&mut |step| ask(&mut client, step));
        let said = match outcome {
            Ok(Outcome::Done) => "done".to_owned(),
            Ok(Outcome::Same) => "was so already".to_owned(),
            Ok(Outcome::Open(why)) => {
                open += 1;
                format!("open: {why}")
            }
            Err(trouble) => {
                return Err(failure(&trouble, step));
            }
        };
        print(&format!("{}: {}\n", name(step), Printable(said.as_bytes())))?;
    }
    if open > 0 {
        return Err(Failure::no(format_args!("{open} of {} steps are open", steps.len())));
    }
    Ok(())
}

/// What a step is for, without its full stop.
fn name(step: &Step) -> &'static str {
    step.says.trim_end_matches('.')
}

fn failure(trouble: &Trouble, step: &Step) -> Failure {
    let what = Printable(trouble.what.as_bytes()).to_string();
    match trouble.kind {
        // It is there, and says no.
        "answer" | "config" | "unauthorized" => Failure::usage(format_args!("{}: {what}", name(step))),
        _ => Failure::no(format_args!("{}: {what}", name(step))),
    }
}

fn ask(client: &mut Client, step: &Step) -> Result<(u16, Value), Trouble> {
    let wrong = |what: &str| Trouble { kind: "config", what: what.to_owned(), wait: None };
    let method = Method::from_bytes(step.method.as_bytes()).map_err(|_| wrong("method"))?;
    let headers: Vec<(HeaderName, &str)> = step
        .headers
        .iter()
        .map(|(name, value)| Ok((HeaderName::from_static(name), value.as_str())))
        .collect::<Result<_, Trouble>>()?;
    let reply = client.request(&method, &step.path, &headers, &step.body.bytes(), ANSWER_BYTES_MAX)?;
    let answer = serde_json::from_slice(&reply.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&reply.body).into_owned()));
    Ok((reply.status, answer))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::usage(format_args!("{}: {error}", path.display())))
}

/// A secret on the first line of a file.
fn secret(path: &Path) -> Result<Secret, Failure> {
    let bytes = read(path)?;
    Ok(Secret::new(bytes.trim_ascii_end()))
}

fn auth(options: &cli::Setup) -> Result<Auth, Failure> {
    Ok(match (&options.username, &options.password_file, &options.api_key_file) {
        (Some(user), Some(file), _) => Auth::Basic { user: user.clone(), password: secret(file)? },
        (_, _, Some(file)) => Auth::ApiKey(secret(file)?),
        _ => Auth::None,
    })
}

fn tls(options: &cli::Setup) -> Result<Tls, Failure> {
    let identity_pem = match (&options.cert_file, &options.key_file) {
        (Some(chain), Some(key)) => Some((read(chain)?, Secret::new(read(key)?))),
        _ => None,
    };
    Ok(Tls { authorities_pem: options.ca_file.as_deref().map(read).transpose()?, identity_pem })
}
