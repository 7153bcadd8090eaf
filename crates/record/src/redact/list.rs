//! The form of the privacy list on disk.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) schemes: Vec<String>,
    pub(super) headers: Headers,
    pub(super) names: Names,
    pub(super) query: Query,
    pub(super) challenge: Keep,
    pub(super) cookie: Cookie,
    pub(super) certificate: Keep,
    pub(super) protocols: Keep,
    pub(super) values: Vec<Value>,
    pub(super) attacks: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Headers {
    pub(super) secret: Vec<String>,
    pub(super) cookie: Vec<String>,
    pub(super) set_cookie: Vec<String>,
    pub(super) challenge: Vec<String>,
    pub(super) url: Vec<String>,
    pub(super) authority: Vec<String>,
    pub(super) certificate: Vec<String>,
    pub(super) protocols: Vec<String>,
    pub(super) address: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    pub(super) patterns: Vec<String>,
    pub(super) keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub(super) secret: Vec<String>,
    pub(super) keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keep {
    pub(super) keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cookie {
    pub(super) attributes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Value {
    pub(super) class: String,
    pub(super) provider: Option<String>,
    pub(super) regex: String,
    pub(super) literals: Vec<String>,
    #[serde(default)]
    pub(super) except: Vec<String>,
}
