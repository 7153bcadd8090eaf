//! What the answers to a plan mean.

use serde_json::Value;

use super::PATTERN;
use super::step::{Body, Kind, Step};
use crate::elasticsearch::Flavour;
use crate::sink::{Trouble, bounded};

/// What became of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is so now.
    Done,
    /// It was so before.
    Same,
    /// It is not so; why, and what to do about it. The rest does not depend on it.
    Open(String),
}

/// Sends a step, and gives the status and the body of the answer; a body that is no JSON may come as a string.
pub type Ask<'a> = dyn FnMut(&Step) -> Result<(u16, Value), Trouble> + 'a;

/// Sends the steps in order, and stops at the first one that fails.
///
/// # Errors
///
/// What `send` said, or what the server answered to which step.
pub fn apply(steps: &[Step], send: &mut Ask<'_>) -> Result<Vec<Outcome>, Trouble> {
    steps.iter().map(|step| step.apply(send)).collect()
}

impl Step {
    /// Sends this step.
    ///
    /// # Errors
    ///
    /// What `send` said, or what the server answered.
    pub fn apply(&self, send: &mut Ask<'_>) -> Result<Outcome, Trouble> {
        match self.kind {
            Kind::StatePolicy => return self.apply_state_policy(send),
            Kind::Mapping => return self.apply_mapping(send),
            _ => {}
        }
        let (status, answer) = send(self)?;
        match (self.kind, status) {
            (Kind::Product(flavour), 200..=299) => product(flavour, &answer),
            (Kind::Import, 200..=299) => imported(&answer),
            (_, 200..=299) => Ok(Outcome::Done),
            _ => Err(self.trouble(status, &answer)),
        }
    }

    /// A request of this step to another path.
    fn get(&self, path: String) -> Step {
        Step { method: "GET", path, headers: Vec::new(), body: Body::Empty, ..self.clone() }
    }

    /// One stream after the other: both products can tell the index that is written to of a single one only.
    fn apply_mapping(&self, send: &mut Ask<'_>) -> Result<Outcome, Trouble> {
        let ask = self.get(format!("/_data_stream/{PATTERN}"));
        let (status, there) = send(&ask)?;
        if status != 404 && !(200..=299).contains(&status) {
            return Err(ask.trouble(status, &there));
        }
        let streams = there.get("data_streams").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let names: Vec<_> = streams.iter().filter_map(|of| of.get("name").and_then(Value::as_str)).collect();
        let mut stuck = Vec::new();
        for name in &names {
            let step = Step { path: self.path.replace(PATTERN, name), ..self.clone() };
            let (status, answer) = send(&step)?;
            match status {
                200..=299 => {}
                400 => stuck.push(format!("POST /{name}/_rollover ({})", reason(&answer))),
                _ => return Err(step.trouble(status, &answer)),
            }
        }
        Ok(if names.is_empty() {
            // Each comes with its first document, and has all fields then.
            Outcome::Same
        } else if stuck.is_empty() {
            Outcome::Done
        } else {
            let stuck = stuck.join(", ");
            Outcome::Open(bounded(&format!(
                "what is there has another mapping, and takes the new one with its next index: {stuck}"
            )))
        })
    }

    fn apply_state_policy(&self, send: &mut Ask<'_>) -> Result<Outcome, Trouble> {
        let ask = self.get(self.path.clone());
        let (status, there) = send(&ask)?;
        let path = match status {
            404 => self.path.clone(),
            400 if reason(&there).starts_with("no handler found") => {
                return Ok(Outcome::Open(
                    "the plugin for index state management is missing here: nothing rolls over and nothing is deleted"
                        .to_owned(),
                ));
            }
            200..=299 => {
                if let Body::Json(wanted) = &self.body
                    && says_all(&there, wanted)
                {
                    return Ok(Outcome::Same);
                }
                let number = |name| there.get(name).and_then(Value::as_u64);
                match number("_seq_no").zip(number("_primary_term")) {
                    Some((seq_no, term)) => {
                        format!("{}?if_seq_no={seq_no}&if_primary_term={term}", self.path)
                    }
                    None => return Err(ask.trouble(status, &there)),
                }
            }
            _ => return Err(ask.trouble(status, &there)),
        };
        let (status, answer) = send(&Step { path, ..self.clone() })?;
        if (200..=299).contains(&status) { Ok(Outcome::Done) } else { Err(self.trouble(status, &answer)) }
    }

    fn trouble(&self, status: u16, answer: &Value) -> Trouble {
        let kind = match status {
            401 | 403 => "unauthorized",
            429 => "busy",
            500.. => "server_error",
            _ => "answer",
        };
        let what = format!("{} {}: {status}: {}", self.method, self.path, reason(answer));
        Trouble { kind, what: bounded(&what), wait: None }
    }
}

/// Whether all that is wanted is there. The server adds members of its own to objects, but not to lists.
fn says_all(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| there.get(name).is_some_and(|there| says_all(there, wanted)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| says_all(there, wanted))
        }
        _ => there == wanted,
    }
}

/// Only OpenSearch says what it is by name.
fn product(wanted: Flavour, answer: &Value) -> Result<Outcome, Trouble> {
    let distribution = answer.pointer("/version/distribution").and_then(Value::as_str);
    let is = match distribution {
        Some("opensearch") => Flavour::OpenSearch,
        _ => Flavour::Elasticsearch,
    };
    if answer.pointer("/version/number").is_none() {
        return Err(config("it does not answer as Elasticsearch or OpenSearch".to_owned()));
    }
    if is == wanted { Ok(Outcome::Same) } else { Err(config(format!("it is {is:?}, not {wanted:?}"))) }
}

fn config(what: String) -> Trouble {
    Trouble { kind: "config", what, wait: None }
}

fn imported(answer: &Value) -> Result<Outcome, Trouble> {
    if answer.get("success") == Some(&Value::Bool(true)) {
        return Ok(Outcome::Done);
    }
    let first = answer.pointer("/errors/0").unwrap_or(answer);
    Err(Trouble {
        kind: "answer",
        what: bounded(&format!("objects were refused, first {first}")),
        wait: None,
    })
}

/// The shortest thing that says why.
fn reason(answer: &Value) -> String {
    let places = ["/error/reason", "/error", "/message"];
    let text = places.iter().find_map(|place| answer.pointer(place).and_then(Value::as_str));
    bounded(&text.map_or_else(|| answer.to_string(), str::to_owned))
}
