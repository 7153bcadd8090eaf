//! Typed features of values that redaction hides, computed before it: later nobody can.

/// Features of one transaction; empty for most.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Header facts of the JSON Web Tokens found.
    pub jwt: Vec<Jwt>,
}

/// Facts of a JSON Web Token's header and expiry (RFC 7515, RFC 7519); never its signature or subject.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Jwt {
    /// `alg`.
    pub alg: Option<String>,
}
