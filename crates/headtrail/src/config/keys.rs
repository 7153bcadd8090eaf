//! The one definition of the config: every section and key with meaning, kind, limits, default, and whether it can change
//! while Headtrail runs. The reader, the defaults, `config check --show`, `config keys` (docs/config.md) and the
//! comparison of two configs come from it.

use headtrail_capture::{RING_BYTES_MAX, RING_BYTES_MIN};
use headtrail_record::volume::RULES_MAX;

use super::kind::{Kind, Needs, Text, check_pattern, form};

mod ship;

pub(super) use ship::{KINDS as SHIP_KINDS, KINDS_NOT_YET as SHIP_KINDS_NOT_YET};

/// A section of the file, `[name]`.
pub(super) struct Section {
    /// Its name, with dots.
    pub(super) name: &'static str,
    /// What it is for.
    pub(super) meaning: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
}

/// A key of a section or of a table.
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// What can be its value.
    pub(super) kind: Kind,
    /// Its default as written in the file; empty where it is left out (keys of tables).
    pub(super) default: &'static str,
    /// Whether it can change while Headtrail runs.
    pub(super) reload: Reload,
    /// Of a section whose `kind` decides what it is: the kinds that have this key; empty for all.
    pub(super) only_for: &'static [&'static str],
    /// What it does.
    pub(super) meaning: &'static str,
}

/// Sections of which a file has as many as it likes, each with a name of its own: `[section.NAME]`. Their key `kind` says what each of them
/// is, and must be there.
pub(super) struct Named {
    /// What they have in common; its name stands before theirs.
    pub(super) section: Section,
    /// Most of them.
    pub(super) count_max: usize,
}

/// All that have names of their own; they are shown behind the others.
pub(super) const NAMED: &[Named] = &[ship::SHIP];

/// When a change has effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reload {
    /// At SIGHUP.
    Live,
    /// At the next start.
    Restart,
}

/// Sections that other versions have.
pub(super) const NOT_YET: &[&str] = &["gateway", "search", "detect", "tls"];

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIB: u64 = 1 << 20;
const TB: u64 = 1_000_000_000_000;

/// Patterns of a user's own, so that those of the built-in list have room beside them.
pub(super) const OWN_PATTERNS_MAX: usize = 64;

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    reload: Reload,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, reload, only_for: &[], meaning }
}

const fn live(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    key(name, kind, default, Reload::Live, meaning)
}

const fn fixed(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    key(name, kind, default, Reload::Restart, meaning)
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

const fn time(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Time { min_ms, max_ms, never: false }
}

/// Lists of names by what becomes of their values.
const fn names(form: Text) -> [Key; 4] {
    let list = Kind::List(form);
    [
        live("keep", list, "[]", "Written as they came, although the built-in list calls them secret."),
        live("fingerprint", list, "[]", "Replaced by a keyed fingerprint."),
        live("mask", list, "[]", "Replaced by `***`."),
        live("drop", list, "[]", "Left out, and counted on the record."),
    ]
}

const MODES: &[&str] = &["keep", "fingerprint", "mask", "drop"];

const PATTERN_KEYS: &[Key] = &[
    live("class", Kind::Text(form::ANY), "", "What the feature is called on records."),
    live(
        "regex",
        Kind::Text(form::ANY),
        "",
        "Regular expression; its first group, or all of it, is the secret.",
    ),
    live("literals", Kind::List(form::ANY), "", "In lower case; one of them stands in each match."),
];

/// The conditions of a rule; a keep rule has a rate too.
const RULE_KEYS: [Key; 7] = [
    live("host", Kind::OneOrMore(form::HOST), "", "Host that the request names."),
    live("method", Kind::OneOrMore(form::METHOD), "", "Method of the request."),
    live("path", Kind::OneOrMore(form::GLOB), "", "Path of the target, as on the wire."),
    live("status", Kind::OneOrMore(form::STATUS), "", "Status of the final response."),
    live("client", Kind::OneOrMore(form::NETWORK), "", "Address of the client."),
    live("user_agent", Kind::OneOrMore(form::AGENT), "", "The first User-Agent line of the request."),
    live("header", Kind::OneOrMore(form::HEADER), "", "A field line of the request."),
];

const KEEP_KEYS: &[Key] = &{
    let [host, method, path, status, client, user_agent, header] = RULE_KEYS;
    let sample = live(
        "sample",
        Kind::Rate,
        "",
        "The part of the connections whose matching transactions are kept; 1 when left out.",
    );
    [host, method, path, status, client, user_agent, header, sample]
};

/// All sections, in the order in which they are shown.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "run",
        meaning: "Who runs it and where its data lies.",
        keys: &[
            fixed(
                "user",
                Kind::Text(form::USER),
                "\"headtrail\"",
                "User that `run` becomes once its programs are loaded.",
            ),
            fixed(
                "data_dir",
                Kind::Text(form::PATH),
                "\"/var/lib/headtrail\"",
                "Folder of the journal, the keys and the cursors.",
            ),
        ],
    },
    Section {
        name: "capture",
        meaning: "What is looked at.",
        keys: &[
            fixed("filter", Kind::Text(form::FILTER), "\"\"", "Which connections are recorded."),
            fixed(
                "ring_bytes",
                size(RING_BYTES_MIN as u64, RING_BYTES_MAX as u64),
                "\"16MiB\"",
                "Size of the kernel's ring buffer, rounded up to a power of two. When it is full, what does not fit is counted.",
            ),
        ],
    },
    Section {
        name: "journal",
        meaning: "How records become durable.",
        keys: &[
            live(
                "block",
                time(10, 10 * SECOND_MS),
                "\"200ms\"",
                "A block of records is written at the latest after this time.",
            ),
            live(
                "sync",
                time(10, 60 * SECOND_MS),
                "\"1s\"",
                "Blocks are on the disk at the latest after this time. Not shorter than `block`.",
            ),
            fixed(
                "segment",
                size(MIB, 1 << 30),
                "\"64MiB\"",
                "Size of a segment, the unit that retention deletes.",
            ),
        ],
    },
    Section {
        name: "journal.checkpoint",
        meaning: "Signed states of the journal. One of `file`, `command` and `url` says where each is also put: only those that lie \
                  where the owner of this host cannot change them prove anything.",
        keys: &[
            fixed(
                "interval",
                time(SECOND_MS, DAY_MS),
                "\"10s\"",
                "Time between two checkpoints, while there are new records.",
            ),
            fixed(
                "file",
                Kind::Text(form::PATH_OR_NONE),
                "\"\"",
                "Each is appended to this file, for example on another host's share.",
            ),
            fixed(
                "command",
                Kind::List(form::ARGUMENT),
                "[]",
                "Each is given to this program on standard input, which has 30 s and the rights of `run.user`. No shell is involved.",
            ),
            fixed(
                "url",
                Kind::Text(form::URL_OR_NONE),
                "\"\"",
                "Each is sent there by POST; any 2xx is success. https takes the host's root certificates.",
            ),
        ],
    },
    Section {
        name: "retention",
        meaning: "How much is kept: the oldest segments are deleted when one of the two is passed.",
        keys: &[
            live("size", size(64 * MIB, 1000 * TB), "\"10GB\"", "Size of the journal."),
            live(
                "age",
                Kind::Time { min_ms: HOUR_MS, max_ms: 36_500 * DAY_MS, never: true },
                "\"30d\"",
                "Age of a segment's newest record.",
            ),
        ],
    },
    Section {
        name: "privacy",
        meaning: "What is hidden ([redaction](redaction.md)).",
        keys: &[
            live(
                "secrets",
                Kind::Choice(MODES),
                "\"fingerprint\"",
                "What becomes of values that the built-in list calls secret.",
            ),
            live(
                "addresses",
                Kind::Choice(&["keep", "truncate", "fingerprint"]),
                "\"keep\"",
                "Client addresses: as they came, their network (/24, /48), or an address made by the key.",
            ),
            live(
                "target",
                Kind::Choice(&["keep", "mask", "drop"]),
                "\"keep\"",
                "Targets: with secrets replaced, with all values of the query masked, or without the query.",
            ),
            live(
                "allow",
                Kind::List(form::NAME),
                "[]",
                "Where not empty: only these lines keep their values, others are masked.",
            ),
            live(
                "key_rotation",
                Kind::Time { min_ms: HOUR_MS, max_ms: 3_650 * DAY_MS, never: true },
                "\"never\"",
                "The fingerprint key is replaced after this time; a secret then has another fingerprint.",
            ),
            live(
                "patterns",
                Kind::Tables {
                    keys: PATTERN_KEYS,
                    needs: Needs::All,
                    check: check_pattern,
                    count_max: OWN_PATTERNS_MAX,
                },
                "[]",
                "Further patterns of secrets, looked for in every value.",
            ),
        ],
    },
    Section { name: "privacy.headers", meaning: "Field lines by name.", keys: &names(form::NAME) },
    Section { name: "privacy.query", meaning: "Keys of the target's query.", keys: &names(form::NAME) },
    Section { name: "privacy.cookies", meaning: "Cookies.", keys: &names(form::COOKIE) },
    Section {
        name: "volume",
        meaning: "How much is recorded ([volume](volume.md)).",
        keys: &[
            live(
                "sample",
                Kind::Rate,
                "1",
                "The part of the connections that is recorded. The rate stands on the record.",
            ),
            live(
                "sample_keep_errors",
                Kind::Flag,
                "false",
                "No sampling leaves out what failed: status 500 or above, or not whole.",
            ),
            live(
                "health_checks",
                Kind::Choice(&["keep", "drop", "sample"]),
                "\"keep\"",
                "What becomes of answered health checks.",
            ),
            live(
                "health_check_sample",
                Kind::Rate,
                "0.01",
                "With `health_checks = \"sample\"`: of which part of the connections they are kept.",
            ),
            live(
                "keep",
                Kind::Tables {
                    keys: KEEP_KEYS,
                    needs: Needs::Condition,
                    check: |_| Ok(()),
                    count_max: RULES_MAX,
                },
                "[]",
                "What matches one of these is kept, whatever else is set. All keys of a rule must match.",
            ),
            live(
                "drop",
                Kind::Tables {
                    keys: &RULE_KEYS,
                    needs: Needs::Condition,
                    check: |_| Ok(()),
                    count_max: RULES_MAX,
                },
                "[]",
                "What matches one of these is counted, not recorded. All keys of a rule must match.",
            ),
        ],
    },
    Section {
        name: "volume.headers",
        meaning: "Which field lines stand on records; those left out are counted there.",
        keys: &[
            live("allow", Kind::List(form::NAME), "[]", "Where not empty: these alone."),
            live("deny", Kind::List(form::NAME), "[]", "Never these."),
        ],
    },
    Section {
        name: "memory",
        meaning: "What the process may use.",
        keys: &[fixed(
            "ceiling",
            size(64 * MIB, 64 << 30),
            "\"256MiB\"",
            "Memory of the process. Near it, held messages are given up, and counted.",
        )],
    },
    Section {
        name: "web",
        meaning: "What can be asked over HTTP: `/metrics`.",
        keys: &[fixed("listen", Kind::Text(form::LISTEN), "\"127.0.0.1:7117\"", "Address and port.")],
    },
];

/// Every key with its section, in order; its place here is its place in a config's values.
pub(super) fn all() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

/// The place of a key in a config's values.
pub(super) fn index(section: &str, name: &str) -> Option<usize> {
    all().position(|(s, k)| s.name == section && k.name == name)
}

impl Key {
    /// Whether a section of this kind has it.
    pub(super) fn is_for(&self, kind: &str) -> bool {
        self.only_for.is_empty() || self.only_for.contains(&kind)
    }
}
