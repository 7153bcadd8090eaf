//! What a user meets who writes the file well, badly, or with ill will.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::keys::{Key, SECTIONS};
use super::kind::{self, Kind};
use super::*;

mod ship;

#[track_caller]
fn good(text: &str) -> Config {
    Config::parse("f.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn bad(text: &str) -> Vec<String> {
    let problems =
        Config::parse("f.toml", text).err().unwrap_or_else(|| panic!("{text} is taken")).to_string();
    problems.lines().map(str::to_owned).collect()
}

#[test]
fn an_empty_file_has_the_documented_defaults() {
    let config = good("");
    assert_eq!(config.run.user, "headtrail");
    assert_eq!(config.run.data_dir, Path::new("/var/lib/headtrail"));
    assert!(config.capture.filter.is_none());
    assert_eq!(config.capture.ring_bytes, headtrail_capture::RING_BYTES_DEFAULT);
    assert_eq!(config.journal.block, Duration::from_millis(200));
    assert_eq!(config.journal.sync, Duration::from_secs(1));
    assert_eq!(config.journal.segment_bytes, 64 << 20);
    assert_eq!(config.journal.checkpoint, Duration::from_secs(10));
    assert_eq!(config.journal.export, None);
    assert_eq!(config.retention.size_bytes, 10_000_000_000);
    assert_eq!(config.retention.age, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(config.privacy, redact::Settings::default());
    assert_eq!(config.key_rotation, None);
    assert_eq!(config.volume, volume::Settings::default());
    assert_eq!(config.memory_bytes_max, 256 << 20);
    assert_eq!(config.listen, Some("127.0.0.1:7117".parse().unwrap()));
}

#[test]
fn what_is_set_is_what_is_meant() {
    let config = good(
        "[capture]\nfilter = 'port 9080'\nring_bytes = 8192\n[journal]\nsync = '2s'\n\
         [journal.checkpoint]\nfile = '/mnt/c'\n[retention]\nsize = '2 GiB'\nage = 'never'\n\
         [privacy]\nkey_rotation = '30d'\nsecrets = 'mask'\nheaders.keep = ['x-*']\n\
         [[privacy.patterns]]\nclass = 'ours'\nregex = 'key-([0-9]+)'\nliterals = ['key-']\n\
         [volume]\nsample = 0.5\n[[volume.drop]]\npath = '/static/*'\nstatus = 304\n[web]\nlisten = 'off'\n",
    );
    assert_eq!(config.capture.filter.as_ref().map(Filter::text), Some("port 9080"));
    assert_eq!(config.capture.ring_bytes, 8192);
    assert_eq!(config.journal.sync, Duration::from_secs(2));
    assert_eq!(config.journal.export, Some(Export::File("/mnt/c".into())));
    assert_eq!((config.retention.size_bytes, config.retention.age), (2 << 30, None));
    assert_eq!(config.key_rotation, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(config.privacy.secrets, redact::Mode::Mask);
    assert_eq!(config.privacy.headers.keep, ["x-*"]);
    assert_eq!(config.privacy.patterns.len(), 1);
    assert_eq!((config.volume.sample, config.volume.drop.len()), (volume::Rate::new(0.5).unwrap(), 1));
    assert_eq!(config.listen, None);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    assert_eq!(
        bad("[retentoin]\nsize = '1GB'"),
        ["f.toml:1:2: unknown key 'retentoin'; did you mean 'retention'?"]
    );
    assert_eq!(bad("[volume]\n  smaple = 1"), ["f.toml:2:3: unknown key 'smaple'; did you mean 'sample'?"]);
    assert_eq!(
        bad("[[volume.drop]]\npaht = '/'\nuser-agent = 'a'"),
        [
            "f.toml:2:1: unknown key 'paht'; did you mean 'path'?",
            "f.toml:3:1: unknown key 'user-agent'; did you mean 'user_agent'?"
        ]
    );
    assert_eq!(bad("ceiling = 1"), ["f.toml:1:1: unknown key 'ceiling' here; it belongs into [memory]"]);
    assert_eq!(bad("zzzzzz = 1"), ["f.toml:1:1: unknown key 'zzzzzz'"]);
    assert_eq!(
        bad("journal.chekpoint.file = '/a'"),
        ["f.toml:1:9: unknown key 'chekpoint'; did you mean 'checkpoint'?"]
    );
    // Columns are characters.
    assert_eq!(
        bad("[volume]\nhealth_checks = 'ä' # é\nheaders = {dney = []}")[1],
        "f.toml:3:12: unknown key 'dney'; did you mean 'deny'?"
    );
}

#[test]
fn sections_of_other_versions_are_told_from_typing_errors() {
    for section in ["search.x", "gateway"] {
        let name = section.split('.').next().unwrap();
        assert_eq!(
            bad(&format!("[{section}]\nkind = 'a'"))[0],
            format!("f.toml:1:2: section [{name}] is not in this version")
        );
    }
}

#[test]
fn a_wrong_value_is_told_with_what_is_allowed() {
    for (text, what) in [
        (
            "[retention]\nsize = 'many'",
            "f.toml:2:8: retention.size: \"many\" is no size; allowed: a size from \"64MiB\" to \"1PB\"",
        ),
        (
            "[retention]\nsize = '10G'",
            "\"10G\" is no size: units are kB, MB, GB, TB, PB (1000) and KiB, MiB, GiB, TiB, PiB (1024)",
        ),
        ("[retention]\nsize = '1MB'", "1MB is not within the limits; allowed: a size from \"64MiB\""),
        ("[retention]\nsize = -1", "-1 is no size"),
        ("[retention]\nsize = '99999999999999999999GB'", "is no size"),
        ("[retention]\nsize = '9999999999PB'", "is too much"),
        ("[retention]\nsize = true", "found true; allowed: a size"),
        (
            "[retention]\nage = 30",
            "found the number 30; allowed: a time from \"1h\" to \"36500d\", or \"never\"",
        ),
        ("[retention]\nage = '30'", "\"30\" is no length of time: units are ms, s, m, h, d"),
        ("[retention]\nage = '1s'", "\"1s\" is not within the limits"),
        ("[journal]\nblock = 'never'", "is no length of time"),
        (
            "[privacy]\nsecrets = 'maks'",
            "found \"maks\", did you mean \"mask\"?; allowed: \"keep\", \"fingerprint\", \"mask\", \"drop\"",
        ),
        ("[privacy.cookies]\nkeep = 'a'", "found the text \"a\"; allowed: a list; each a name"),
        (
            "[privacy.cookies]\nkeep = ['a', 'b*c', 3, []]",
            "f.toml:2:14: privacy.cookies.keep: \"b*c\" has a * that is not at its end",
        ),
        ("[privacy.cookies]\nkeep = [[]]", "found a list of 0"),
        ("[volume]\nsample = 1.5", "1.5 is no rate; allowed: 0, or a number from 0.000001 to 1"),
        ("[volume]\nsample = nan", "NaN is no rate"),
        ("[volume]\nsample_keep_errors = 'yes'", "found the text \"yes\"; allowed: true or false"),
        ("[volume]\nkeep = 1", "found the number 1; allowed: tables, [[volume.keep]]"),
        ("[volume]\nkeep = [1]", "found the number 1; allowed: a table"),
        (
            "[[volume.keep]]\nsample = 0.5",
            "f.toml:1:1: volume.keep: a rule without a condition matches everything",
        ),
        ("[[volume.drop]]", "a rule without a condition matches everything"),
        ("[[volume.drop]]\nsample = 0.5", "unknown key 'sample'"),
        (
            "[[volume.drop]]\nclient = '10.0.0.1/8'",
            "f.toml:2:10: volume.drop.client: \"10.0.0.1/8\" is no network: it has bits behind",
        ),
        ("[[volume.drop]]\nstatus = [200, 1000]", "f.toml:2:16: volume.drop.status: \"1000\" is no status"),
        ("[[privacy.patterns]]\nclass = 'a'", "privacy.patterns: regex, literals must be there too"),
        (
            "[[privacy.patterns]]\nclass = 'a'\nregex = '('\nliterals = ['a']",
            "f.toml:1:1: privacy.patterns: regex parse error",
        ),
        ("[web]\nlisten = '0.0.0.0:80'", "\"0.0.0.0:80\" is reached from other hosts, which needs TLS"),
        ("[web]\nlisten = 'localhost:80'", "is no address with a port"),
        ("[run]\ndata_dir = 'data'", "\"data\" is no absolute path"),
        ("[run]\nuser = 'a b'", "\"a b\" is no name of a user"),
        ("[journal]\nblock = '5s'", "f.toml:2:9: journal.block: longer than journal.sync"),
        ("[journal]\nsync = '50ms'", "f.toml:2:8: journal.block: longer than journal.sync"),
        ("[journal.checkpoint]\nurl = 'https://u:p@h/'", "is no http or https URL without credentials"),
        ("[journal.checkpoint]\nurl = 'https://h:99999/'", "is no http or https URL without credentials"),
        ("[journal.checkpoint]\nurl = 'http://:80/'", "is no http or https URL without credentials"),
        ("[journal.checkpoint]\ncommand = ['logger']", "the absolute path of a program"),
        (
            "[journal.checkpoint]\nurl = 'https://h/'\nfile = '/a'",
            "f.toml:2:7: journal.checkpoint.url: journal.checkpoint.file is there too",
        ),
        ("journal = 1", "f.toml:1:11: journal is a section, [journal]; found the number 1"),
    ] {
        let told = bad(text).join("\n");
        assert!(told.contains(what), "{text}\n{told}\n{what}");
    }
}

#[test]
fn a_filter_is_shown_with_a_caret() {
    assert_eq!(
        bad("[capture]\nfilter = 'port 80 and vlan 5'"),
        [
            bad("[capture]\nfilter = 'port 80 and vlan 5'")[0].clone(),
            "  port 80 and vlan 5".to_owned(),
            "              ^".to_owned()
        ]
    );
    assert!(bad("[capture]\nfilter = 'vlan'")[0].starts_with("f.toml:2:10: capture.filter: "));
}

#[test]
fn all_problems_are_told_in_order() {
    let told =
        bad("[volume]\nsample = 2\nx = 1\n[web]\nlisten = 1\n[tls]\n[retention]\nsize = 10GB\nage = 'a'\n");
    let places: Vec<_> = told.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        places,
        ["f.toml:2:10:", "f.toml:3:1:", "f.toml:5:10:", "f.toml:6:2:", "f.toml:8:8:", "f.toml:9:7:"]
    );
    assert!(told[4].contains("must be quoted"), "{}", told[4]);
    assert_eq!(bad("a = 1\na = 2").len(), 2);
    let many = bad(&"a = \n".repeat(200));
    assert_eq!((many.len(), many[50].as_str().ends_with("more")), (51, true), "{}", many[50]);
}

#[test]
fn hostile_files_are_refused_within_bounds() {
    for text in [
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("a = {}", "[".repeat(200_000)),
        format!("volume.keep = {}", "{path = ".repeat(30_000)),
        "=\n".repeat(100_000),
        "x".repeat(250_000),
        (0..20_000).map(|i| format!("k{i} = 1\n")).collect(),
        "[[volume.keep]]\n".repeat(15_000),
        format!("volume.headers.deny = [{}]", "'a',".repeat(50_000)),
        format!("capture.filter = '{}'", "a".repeat(200_000)),
        format!("\"{}\" = 1", "\\u001b[2J".repeat(10_000)),
        format!("[[volume.drop]]\nstatus = '{}'", "9".repeat(200_000)),
        "\u{0}\u{1b}[31m = 1".to_owned(),
    ] {
        let begin = Instant::now();
        let told = bad(&text).join("\n");
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?} {:.80}", begin.elapsed(), text);
        assert!(told.len() < 50_000, "{} {:.80}", told.len(), text);
        assert!(!told.contains(['\u{1b}', '\0']), "{told:.80}");
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = std::env::temp_dir();
    let told = |path: &Path| Config::load(path).err().unwrap().to_string();
    assert!(told(&folder).ends_with("is a directory; name a file"), "{}", told(&folder));
    assert!(told(&folder.join("no such headtrail.toml")).ends_with("is not there"));
    assert!(told(Path::new("/dev/zero")).ends_with("is longer than 256 KiB"));
    let path = folder.join(format!("headtrail-config-{}.toml", std::process::id()));
    std::fs::write(&path, b"# \xc3\xa9\n# ok \xff\n").unwrap();
    let of_bytes = told(&path);
    std::fs::remove_file(&path).unwrap();
    assert!(of_bytes.ends_with(":2:6: the byte 0xff is not UTF-8"), "{of_bytes}");
    assert!(Config::load(Path::new("/dev/null")).is_ok());
}

#[test]
fn a_wrong_value_is_not_told_again_by_what_its_default_would_mean() {
    assert_eq!(bad("[journal]\nsync = 'x'\nblock = '5s'").len(), 1);
    let told = bad(
        "[[privacy.patterns]]\nclass = 'a'\nregex = \"(\\u001b[2J\"\nliterals = ['a']\n[web]\nlisten = 1",
    )
    .join("\n");
    assert!(
        told.contains("f.toml:1:1: privacy.patterns: ") && told.contains("f.toml:6:10: web.listen"),
        "{told}"
    );
    assert!(!told.contains('\u{1b}'));
}

#[test]
fn as_many_patterns_as_a_file_may_have_fit_beside_the_built_in_ones() {
    let patterns = (0..keys::OWN_PATTERNS_MAX)
        .map(|i| redact::ValuePattern {
            class: "ours".to_owned(),
            regex: format!("a{i}"),
            literals: vec!["a".to_owned()],
        })
        .collect();
    redact::Policy::with(&redact::Settings { patterns, ..redact::Settings::default() }).unwrap();
}

#[test]
fn a_change_is_told_by_key() {
    let old = good("");
    let new = good(
        "[retention]\nsize = '20GB'\nage = '720h'\n[memory]\nceiling = '1GiB'\n[[volume.drop]]\npath = '/'",
    );
    assert_eq!(Config::diff(&old, &old), super::Reload::default());
    let reload = Config::diff(&old, &new);
    assert_eq!(reload.changed, ["retention.size", "volume.drop", "memory.ceiling"]);
    assert_eq!(reload.needs_restart, ["memory.ceiling"]);
}

#[test]
fn what_needs_a_restart_stays_in_force() {
    let old = good(
        "[capture]\nring_bytes = '8MiB'\nfilter = 'port 80'\n[memory]\nceiling = '128MiB'\n[retention]\nage = '2d'",
    );
    let new = good(
        "[capture]\nring_bytes = '32MiB'\nfilter = 'port 81'\n[memory]\nceiling = '1GiB'\n[journal]\nsync = '5s'\n\
         segment = '1MiB'\n[journal.checkpoint]\nfile = '/a'\n[privacy]\nsecrets = 'mask'\n[[volume.drop]]\npath = '/'\n\
         [web]\nlisten = 'off'\n[run]\nuser = 'a'",
    );
    let in_force = |old, new| Config::in_force(old, new).unwrap_or_else(|problems| panic!("{problems}"));
    let config = in_force(&old, &new);
    // Of the old one.
    assert_eq!((config.capture.ring_bytes, config.memory_bytes_max), (8 << 20, 128 << 20));
    assert_eq!(config.capture.filter.as_ref().unwrap().text(), "port 80");
    assert_eq!((config.journal.segment_bytes, &config.journal.export), (64 << 20, &None));
    assert_eq!((config.listen, config.run.user.as_str()), (old.listen, "headtrail"));
    // Of the new one; what it does not have has its default.
    assert_eq!((config.journal.sync, config.retention.age), (Duration::from_secs(5), new.retention.age));
    assert_eq!((&config.privacy, &config.volume), (&new.privacy, &new.volume));

    for (key, (is, (old, new))) in
        keys::all().zip(config.values.iter().zip(old.values.iter().zip(&new.values)))
    {
        assert_eq!(is, if key.1.reload == keys::Reload::Live { new } else { old }, "{}", key.1.name);
    }
    // The old file again: nothing is left of the other.
    assert_eq!(in_force(&config, &old).shown(), old.shown());
}

#[test]
fn keys_that_must_agree_change_together() {
    // Otherwise a mixture of two good configs could be a bad one.
    for group in [
        &[("journal", "block"), ("journal", "sync")][..],
        &[("journal.checkpoint", "file"), ("journal.checkpoint", "command"), ("journal.checkpoint", "url")],
    ] {
        let reload = |(section, name): &(&str, &str)| {
            keys::all().find(|(s, k)| s.name == *section && k.name == *name).unwrap().1.reload
        };
        assert!(group.windows(2).all(|pair| reload(&pair[0]) == reload(&pair[1])), "{group:?}");
    }
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    let config = good(
        "[capture]\nfilter = 'port 80 or\\u0009port 81'\n[retention]\nage = 'never'\nsize = 1000000001\n\
         [journal.checkpoint]\ncommand = ['/bin/x', 'a \"b\" \\\\ \u{202e}']\n\
         [privacy]\nallow = ['a*', 'b']\n[[privacy.patterns]]\nclass = 'a'\nregex = 'a\\d(b)'\nliterals = ['a']\n\
         [volume]\nsample = 0.25\n[[volume.keep]]\nstatus = ['5xx', 404]\nsample = 0.5\n[[volume.drop]]\nheader = 'X-A: b'\n"
            .replace("\\u0009", " ")
            .as_str(),
    );
    let shown = config.shown();
    assert!(!shown.contains('\u{202e}'));
    let again = good(&shown);
    assert_eq!(again.values, config.values);
    assert_eq!((again.volume, again.privacy), (config.volume, config.privacy));
    assert_eq!(good(&good("").shown()).shown(), good("").shown());
}

/// The names that serde knows of, told by its own message.
fn known_to_serde<T: DeserializeOwned>(prefix: &str) -> BTreeSet<String> {
    let error = toml::from_str::<T>("no_such_key = 1").err().unwrap();
    let message = error.message().to_owned();
    let names = message.split('`').skip(3).step_by(2);
    names.map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn the_definition_has_the_keys_of_the_settings_it_stands_for() {
    let of = |section: &str| -> BTreeSet<String> {
        let keys = keys::all().filter(|(s, _)| s.name == section).map(|(_, k)| k.name.to_owned());
        let rest =
            |s: &super::keys::Section| Some(s.name.strip_prefix(section)?.strip_prefix('.')?.to_owned());
        keys.chain(SECTIONS.iter().filter_map(rest)).collect()
    };
    let rows = |keys: &[Key]| keys.iter().map(|key| key.name.to_owned()).collect::<BTreeSet<_>>();
    let table =
        |section: &str, name: &str| match keys::all().find(|(s, k)| s.name == section && k.name == name) {
            Some((_, Key { kind: Kind::Tables { keys, .. }, .. })) => rows(keys),
            _ => panic!("{section}.{name}"),
        };
    assert_eq!(of("volume"), known_to_serde::<volume::Settings>(""));
    assert_eq!(of("volume.headers"), known_to_serde::<volume::Headers>(""));
    assert_eq!(table("volume", "keep"), known_to_serde::<volume::Rule>(""));
    let mut drop = table("volume", "drop");
    drop.insert("sample".to_owned());
    assert_eq!(drop, table("volume", "keep"));
    let mut privacy = known_to_serde::<redact::Settings>("");
    privacy.insert("key_rotation".to_owned());
    assert_eq!(of("privacy"), privacy);
    for section in ["privacy.headers", "privacy.query", "privacy.cookies"] {
        assert_eq!(of(section), known_to_serde::<redact::Names>(""), "{section}");
    }
    assert_eq!(table("privacy", "patterns"), known_to_serde::<redact::ValuePattern>(""));
}

#[test]
fn every_key_has_a_default_within_its_limits_and_a_meaning() {
    for (section, key) in keys::all() {
        assert!(read::default(key).is_some(), "{}.{}", section.name, key.name);
        assert!(key.meaning.ends_with('.') && !section.meaning.is_empty(), "{}.{}", section.name, key.name);
    }
}

#[test]
fn the_example_of_the_page_on_volume_is_taken() {
    let page = include_str!("../../../../docs/volume.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        let config = good(example);
        volume::Volume::new(config.volume, volume::SampleKey([0; 16])).unwrap();
    }
    for name in volume::AGENTS.iter().chain(volume::RESPONSE_LINES).chain(volume::PATHS) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/volume.md");
    }
}

proptest! {
    #[test]
    fn a_shown_size_is_read_as_the_same(bytes in prop_oneof![any::<u64>(), (0u64..2000, 0u32..50).prop_map(|(n, s)| n << s), (0u64..2000, 0u32..15).prop_map(|(n, s)| n * 10u64.pow(s))]) {
        prop_assert_eq!(kind::size(&kind::show_size(bytes)), Ok(bytes));
    }

    #[test]
    fn a_shown_time_is_read_as_the_same(ms in prop_oneof![any::<u64>(), (0u64..100).prop_map(|n| n * 3_600_000)]) {
        let time = Duration::from_millis(ms);
        prop_assert_eq!(kind::time(&kind::show_time(time)), Ok(time));
    }

    #[test]
    fn any_text_is_taken_or_told(text in "(\\[+(volume|privacy|journal|ship)(\\.keep|\\.drop|\\.headers|\\.checkpoint)?\\]+\n)?([a-z]{0,8}[=.\\[\\]{}'\"# \n0-9]{0,6}){0,12}\\PC{0,6}") {
        match Config::parse("f", &text) {
            Ok(config) => prop_assert_eq!(&good(&config.shown()).values, &config.values),
            Err(problems) => prop_assert!(!problems.to_string().is_empty()),
        }
    }
}
