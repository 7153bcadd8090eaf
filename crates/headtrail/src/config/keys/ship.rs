//! `[ship.NAME]`: one destination each.

use super::{HOUR_MS, Key, MIB, Named, SECOND_MS, Section, fixed, form, key, size, time};
use super::{Kind, Reload, TB};

/// What a destination can be.
pub(in super::super) const KINDS: &[&str] = &["elasticsearch", "opensearch", "logstash", "file"];
/// What it can be in other versions.
pub(in super::super) const KINDS_NOT_YET: &[&str] = &["kafka", "otlp", "syslog"];

const CLUSTERS: &[&str] = &["elasticsearch", "opensearch"];
const SERVERS: &[&str] = &["elasticsearch", "opensearch", "logstash"];
const LOGSTASH: &[&str] = &["logstash"];
const FILE: &[&str] = &["file"];

const fn only(
    only_for: &'static [&'static str],
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { only_for, ..key(name, kind, default, Reload::Restart, meaning) }
}

pub(super) const SHIP: Named = Named {
    section: Section {
        name: "ship",
        meaning: "Where records go besides the journal: one section for each destination, at most 16. `NAME`, 1 to 64 of `a-z`, `0-9` and `-`, is also \
                  the name of its cursor: under another one it begins anew.",
        keys: &[
            fixed("kind", Kind::Text(form::SHIP_KIND), "", "What it is."),
            only(
                SERVERS,
                "urls",
                Kind::List(form::SERVER),
                "[]",
                "Where it is; tried in turn. `http` and `https` for a cluster, `tcp` and `tls` for Logstash. Must be there.",
            ),
            fixed(
                "types",
                Kind::List(form::RECORD_TYPE),
                "[\"transaction\", \"connection\", \"alert\", \"annotation\", \"loss\", \"lifecycle\", \"coverage\"]",
                "Which types of records go there.",
            ),
            fixed("query", Kind::Text(form::QUERY), "\"\"", "Which of them ([query](query.md))."),
            fixed(
                "format",
                Kind::Choice(&["ecs"]),
                "\"ecs\"",
                "What a record is written as ([fields](fields.md)).",
            ),
            only(
                CLUSTERS,
                "namespace",
                Kind::Text(form::NAMESPACE),
                "\"default\"",
                "Last part of the names of the data streams, `logs-headtrail.TYPE-NAMESPACE`.",
            ),
            only(
                CLUSTERS,
                "pipeline",
                Kind::Text(form::PIPELINE),
                "\"\"",
                "Ingest pipeline that documents go through.",
            ),
            only(SERVERS, "compress", Kind::Flag, "true", "Whether what is sent is packed."),
            only(CLUSTERS, "username", Kind::Text(form::USERNAME), "\"\"", "User; needs `password_file`."),
            only(
                CLUSTERS,
                "password_file",
                Kind::Text(form::PATH_OR_NONE),
                "\"\"",
                "File with the user's password.",
            ),
            only(
                CLUSTERS,
                "api_key_file",
                Kind::Text(form::PATH_OR_NONE),
                "\"\"",
                "File with an API key as it is sent (Base64), instead of a user.",
            ),
            only(
                SERVERS,
                "ca_file",
                Kind::Text(form::PATH_OR_NONE),
                "\"\"",
                "File with the certificates (PEM) of the only authorities that are trusted; empty for those of the system.",
            ),
            only(
                SERVERS,
                "cert_file",
                Kind::Text(form::PATH_OR_NONE),
                "\"\"",
                "File with the own chain of certificates (PEM); needs `key_file`.",
            ),
            only(
                SERVERS,
                "key_file",
                Kind::Text(form::PATH_OR_NONE),
                "\"\"",
                "File with its private key (PEM).",
            ),
            fixed(
                "batch_documents",
                Kind::Count { min: 1, max: 10_000 },
                "1000",
                "Most documents that are sent at once.",
            ),
            fixed(
                "batch_size",
                size(64 << 10, 64 * MIB),
                "\"4MiB\"",
                "Most that is sent at once, before it is packed; one document can be larger.",
            ),
            only(
                SERVERS,
                "connect_timeout",
                time(100, 60 * SECOND_MS),
                "\"10s\"",
                "How long connecting may take, TLS included.",
            ),
            only(
                SERVERS,
                "timeout",
                time(SECOND_MS, HOUR_MS),
                "\"60s\"",
                "How long sending and its answer may take, all together.",
            ),
            only(
                LOGSTASH,
                "window",
                Kind::Count { min: 1, max: 10_000 },
                "1000",
                "Most documents that are sent before all are acknowledged.",
            ),
            only(
                FILE,
                "path",
                Kind::Text(form::PATH_OR_NONE),
                "\"\"",
                "The file; its folder is there. Must be there.",
            ),
            only(
                FILE,
                "rotate_size",
                size(64 << 10, TB),
                "\"100MiB\"",
                "Size from which on the next file is begun.",
            ),
            only(
                FILE,
                "rotate_keep",
                Kind::Count { min: 0, max: 100_000 },
                "10",
                "How many older files are kept beside it; 0 keeps all.",
            ),
        ],
    },
    count_max: 16,
};
