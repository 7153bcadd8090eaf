//! One request of a plan.

use std::fmt::Write;

use serde_json::Value;

use crate::elasticsearch::Flavour;

/// A request to the target's URL.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// What it is for, in a line.
    pub says: &'static str,
    /// What its answer means.
    pub kind: Kind,
    /// HTTP method.
    pub method: &'static str,
    /// Path and query, behind the path of the target's URL, which may have one.
    pub path: String,
    /// Header lines that belong to the request; those of the connection and of who we are come from elsewhere.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Body,
}

/// What the answer to a step means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Tells which product is there, and a plan for the other one ends here.
    Product(Flavour),
    /// Makes something, or replaces it by the same: any 2xx will do.
    Put,
    /// A policy of OpenSearch's index state management. An existing one is replaced only by who knows its version, so it is asked for first,
    /// and left alone if it says the same already.
    StatePolicy,
    /// New fields for data streams that are there: they are asked for first, and each gets its own request. None may be there, and an old
    /// mapping may stand against a new one.
    Mapping,
    /// Saved objects: the answer is 200 also where objects were refused.
    Import,
}

/// The body of a step.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// Objects, one a line, as the only file of a form.
    File(Vec<Value>),
}

/// Between the parts of the form. The objects are ours, and a test holds that it does not occur in them.
pub(super) const BOUNDARY: &str = "headtrail-saved-objects";

impl Body {
    /// The media type, where there is a body.
    pub(super) fn media_type(&self) -> Option<String> {
        match self {
            Self::Empty => None,
            Self::Json(_) => Some("application/json".to_owned()),
            Self::File(_) => Some(format!("multipart/form-data; boundary={BOUNDARY}")),
        }
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Empty => Vec::new(),
            Self::Json(value) => value.to_string().into_bytes(),
            Self::File(objects) => format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"headtrail.ndjson\"\r\n\
                 Content-Type: application/x-ndjson\r\n\r\n{}\r\n--{BOUNDARY}--\r\n",
                lines(objects),
            )
            .into_bytes(),
        }
    }
}

impl Step {
    /// A step with its body's media type.
    pub(super) fn new(
        says: &'static str,
        kind: Kind,
        method: &'static str,
        path: impl Into<String>,
        body: Body,
    ) -> Self {
        let headers = body.media_type().map(|media_type| ("content-type", media_type)).into_iter().collect();
        Self { says, kind, method, path: path.into(), headers, body }
    }
}

fn lines(objects: &[Value]) -> String {
    objects.iter().fold(String::new(), |mut text, object| {
        let _ = writeln!(text, "{object}");
        text
    })
}

/// What would be sent, for people: as it can be pasted into the consoles of Kibana and OpenSearch Dashboards, and the lines of a file as they
/// can be imported by hand.
#[must_use]
pub fn print(steps: &[Step]) -> String {
    let mut text = String::new();
    for step in steps {
        let _ = writeln!(text, "# {}", step.says);
        let json = matches!(step.body, Body::Json(_));
        for (name, value) in step.headers.iter().filter(|_| !json) {
            let _ = writeln!(text, "# {name}: {value}");
        }
        let _ = writeln!(text, "{} {}", step.method, step.path);
        match &step.body {
            Body::Empty => {}
            Body::Json(value) => {
                let _ = writeln!(text, "{value:#}");
            }
            Body::File(objects) => text.push_str(&lines(objects)),
        }
        text.push('\n');
    }
    text
}
