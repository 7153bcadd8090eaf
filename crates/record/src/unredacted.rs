//! The exception to redaction: a transaction with its secrets, to be looked at once (`read --show-secrets`).
//!
//! [`Unredacted`] is a type of its own, so that by type it goes nowhere but to the printers: records are encoded, and so
//! written to a journal and sent, from a [`Transaction`], which nothing here gives out.
//!
//! ```compile_fail
//! // What has not been redacted cannot be encoded for a journal.
//! use headtrail_record::{json::Context, proto, unredacted::Unredacted};
//! fn leak(out: &mut Vec<u8>, t: &Unredacted, context: &Context) { let _ = proto::transaction(out, t, context); }
//! ```
//!
//! ```compile_fail
//! // Nor can what the printers take.
//! use headtrail_record::{json::Context, proto, unredacted::Shown};
//! fn leak(out: &mut Vec<u8>, t: Shown<'_>, context: &Context) { let _ = proto::transaction(out, t, context); }
//! ```
//!
//! ```compile_fail
//! // Nor is it taken where a redacted one is printed.
//! use headtrail_record::{json::{self, Context}, unredacted::Unredacted};
//! fn leak(out: &mut Vec<u8>, t: &Unredacted, context: &Context) { json::write_transaction(out, t, context); }
//! ```
//!
//! ```
//! // All of these names are there.
//! use headtrail_record::{json::{self, Context}, proto, transaction::Transaction, unredacted::Unredacted};
//! fn store(out: &mut Vec<u8>, t: &Transaction, context: &Context) { let _ = proto::transaction(out, t, context); }
//! fn show(out: &mut Vec<u8>, t: &Unredacted, context: &Context) { json::write_unredacted(out, t, context); }
//! ```

use std::fmt;

use crate::features::Features;
use crate::grpc::Grpc;
use crate::redact::Redactor;
use crate::transaction::{RawTransaction, Timing, Transaction};
use crate::volume::{LeftOut, Rate};

/// A transaction as it was on the wire, secrets and all, with its features.
pub struct Unredacted {
    /// Private, and never lent out: it is not what its type says.
    inner: Transaction,
}

impl fmt::Debug for Unredacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Blank on purpose: it holds secrets.
        write!(f, "Unredacted({}-{})", self.inner.inner.connection.0, self.inner.inner.number)
    }
}

impl Unredacted {
    /// Leaves everything in `raw` as it is, and takes the features that `redactor` would take.
    #[must_use]
    pub fn new(raw: RawTransaction, redactor: &mut Redactor) -> Self {
        let Transaction { features, grpc, .. } = redactor.redact(raw.clone());
        Self {
            inner: Transaction {
                inner: raw,
                features,
                grpc,
                redacted: Vec::new(),
                left_out: 0,
                sample_rate: Rate::ALL,
                lines_left_out: LeftOut::default(),
            },
        }
    }
}

/// What printers see of a transaction, be it redacted or not.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    of: &'a Transaction,
    unredacted: bool,
}

impl<'a> From<&'a Transaction> for Shown<'a> {
    fn from(of: &'a Transaction) -> Self {
        Self { of, unredacted: false }
    }
}

impl<'a> From<&'a Unredacted> for Shown<'a> {
    fn from(of: &'a Unredacted) -> Self {
        Self { of: &of.inner, unredacted: true }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("unredacted", &self.unredacted).finish_non_exhaustive()
    }
}

impl<'a> Shown<'a> {
    /// Nothing was hidden.
    #[must_use]
    pub fn is_unredacted(self) -> bool {
        self.unredacted
    }

    /// What stands on the record.
    #[must_use]
    pub fn facts(self) -> &'a RawTransaction {
        self.of.facts()
    }

    /// See [`Transaction::features`].
    #[must_use]
    pub fn features(self) -> &'a Features {
        self.of.features()
    }

    /// See [`Transaction::grpc`].
    #[must_use]
    pub fn grpc(self) -> Option<&'a Grpc> {
        self.of.grpc()
    }

    /// See [`Transaction::redacted`].
    #[must_use]
    pub fn redacted(self) -> &'a [String] {
        self.of.redacted()
    }

    /// See [`Transaction::left_out`].
    #[must_use]
    pub fn left_out(self) -> u32 {
        self.of.left_out()
    }

    /// See [`Transaction::sample_rate`].
    #[must_use]
    pub fn sample_rate(self) -> Rate {
        self.of.sample_rate()
    }

    /// See [`Transaction::lines_left_out`].
    #[must_use]
    pub fn lines_left_out(self) -> LeftOut {
        self.of.lines_left_out()
    }

    /// See [`Transaction::time_ns`].
    #[must_use]
    pub fn time_ns(self) -> u64 {
        self.of.time_ns()
    }

    /// See [`Transaction::timing`].
    #[must_use]
    pub fn timing(self) -> Timing {
        self.of.timing()
    }
}
