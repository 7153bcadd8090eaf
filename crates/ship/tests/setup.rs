//! What `headtrail setup` would send: the mapping takes every document and is that of ECS, dashboards use fields that have values, and the
//! whole is as reviewed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod setup_common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use headtrail_record::ecs_fields::FIELDS;
use headtrail_ship::elasticsearch::Flavour;
use headtrail_ship::setup::dashboards::{DASHBOARDS, Measure, Shows, WIDTH};
use headtrail_ship::setup::{Body, Kind, Options, Target, mapping, page, plan, print};
use serde_json::Value;
use setup_common::documents;

const FLAVOURS: [Flavour; 2] = [Flavour::Elasticsearch, Flavour::OpenSearch];

/// Packetbeat's, and OpenTelemetry's, which ECS lacks.
const NOT_OF_ECS: [&str; 5] = [
    "http.request.headers",
    "http.response.headers",
    "rpc.system.name",
    "rpc.method",
    "rpc.response.status_code",
];

/// All fields of the schema with their types.
fn schema() -> BTreeMap<&'static str, &'static str> {
    let rows = include_str!("data/ecs-9.0.0.csv").lines().filter(|line| !line.starts_with('#'));
    rows.map(|row| row.split_once(',').unwrap()).collect()
}

#[test]
fn fields_are_those_of_ecs_with_its_types() {
    let schema = schema();
    assert!(headtrail_record::ecs::ECS_VERSION == "9.0.0" && schema.len() > 300);
    for field in FIELDS.iter().filter(|f| !f.name.starts_with("headtrail.") && !NOT_OF_ECS.contains(&f.name))
    {
        assert_eq!(schema.get(field.name), Some(&field.kind), "{}", field.name);
    }
    assert!(NOT_OF_ECS.iter().all(|name| !schema.contains_key(name)));
}

/// Walks a document as a server does that maps strictly. Adds the names of the fields that have values.
fn validate(value: &Value, mapping: &Value, name: &str, filled: &mut BTreeSet<String>) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{name}: {what}: {value}"));
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| validate(item, mapping, name, filled));
    }
    let Some(kind) = mapping.get("type").and_then(Value::as_str) else {
        let Value::Object(members) = value else { return wrong("not an object") };
        return members.iter().try_for_each(|(key, member)| {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let Some(inner) = mapping["properties"].get(key) else {
                return Err(format!("{name}: not mapped"));
            };
            validate(member, inner, &name, filled)
        });
    };
    let fits = match (kind, value) {
        ("long", Value::Number(number)) => number.as_i64().is_some(),
        ("double", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("keyword" | "wildcard", Value::String(_)) => true,
        ("ip", Value::String(text)) => text.parse::<std::net::IpAddr>().is_ok(),
        ("date", Value::String(text)) => text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T'),
        ("flattened" | "flat_object", Value::Object(members)) => {
            members.values().all(|member| match member {
                Value::Array(values) => values.iter().all(Value::is_string),
                member => member.is_string(),
            })
        }
        _ => false,
    };
    filled.insert(name.to_owned());
    if fits { Ok(()) } else { wrong(kind) }
}

#[test]
fn strict_mappings_take_every_document() {
    for flavour in FLAVOURS {
        let mapping = mapping::mapping(flavour);
        assert_eq!(mapping["dynamic"], "strict");
        for (kind, document) in documents() {
            validate(&document, &mapping, "", &mut BTreeSet::new())
                .unwrap_or_else(|why| panic!("{kind:?}: {why}"));
        }
    }
}

#[test]
fn the_validator_refuses_what_a_server_refuses() {
    let mapping = mapping::mapping(Flavour::Elasticsearch);
    let refuses = |text: &str| {
        validate(&serde_json::from_str(text).unwrap(), &mapping, "", &mut BTreeSet::new()).unwrap_err()
    };
    assert!(refuses(r#"{"http":{"request":{"colour":"red"}}}"#).contains("not mapped"));
    assert!(refuses(r#"{"http":"1.1"}"#).contains("not an object"));
    refuses(r#"{"source":{"ip":"localhost"}}"#);
    refuses(r#"{"source":{"port":"80"}}"#);
    refuses(r#"{"http":{"request":{"headers":{"a":{"b":"c"}}}}}"#);
}

/// The defaults of both products, which no setting of ours raises; objects count too.
#[test]
fn mappings_stay_below_the_limits_of_the_servers() {
    fn count(mapping: &Value, depth: usize) -> (usize, usize) {
        let inner = mapping["properties"].as_object().into_iter().flat_map(|members| members.values());
        inner.map(|member| count(member, depth + 1)).fold((1, depth), |(n, d), (m, e)| (n + m, d.max(e)))
    }
    let (fields, depth) = count(&mapping::mapping(Flavour::OpenSearch), 0);
    assert!(fields < 700 && depth < 15, "{fields} fields, {depth} deep");
}

#[test]
fn panels_use_fields_that_have_values() {
    let mapping = mapping::mapping(Flavour::OpenSearch);
    let mut filled = BTreeSet::new();
    documents().iter().for_each(|(_, document)| validate(document, &mapping, "", &mut filled).unwrap());
    for dashboard in DASHBOARDS {
        for panel in dashboard.panels {
            let place = format!("{}, {}", dashboard.title, panel.title);
            for field in panel.fields() {
                assert!(filled.contains(field), "{place}: no record has {field}");
                let kind = FIELDS.iter().find(|f| f.name == field).map(|f| f.kind);
                assert!(kind.is_some_and(|kind| kind != "flattened"), "{place}: {field} is a {kind:?}");
            }
            assert!(panel.question.contains('?') && (1..=WIDTH).contains(&panel.width), "{place}");
            assert!(
                panel.title.chars().all(|c| c.is_ascii_alphanumeric() || c == ' '),
                "{place}: makes a bad id"
            );
            let measured: &[Measure] = match &panel.shows {
                Shows::Number(measure) | Shows::Bars(measure, _) | Shows::Lines(measure) => &[*measure],
                Shows::Table(_, measures) => measures,
                Shows::Records(..) => &[],
            };
            for measure in measured.iter().filter(|measure| !matches!(measure, Measure::Distinct(_))) {
                let number =
                    |field| FIELDS.iter().any(|f| f.name == field && ["long", "double"].contains(&f.kind));
                assert!(
                    measure.field().is_none_or(number),
                    "{place}: {measure:?} of something that is no number"
                );
            }
            if let Shows::Table(_, measures) = panel.shows {
                assert!(
                    !matches!(measures[0], Measure::Percentiles(_)),
                    "{place}: rows cannot be sorted by several numbers"
                );
            }
        }
    }
}

fn objects(target: Target) -> Vec<Value> {
    let steps = plan(target, &Options::default());
    let [step] = &steps[..] else { panic!("{} steps", steps.len()) };
    assert_eq!((step.kind, step.method), (Kind::Import, "POST"));
    let Body::File(objects) = &step.body else { panic!("no file") };
    objects.clone()
}

fn inner(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

#[test]
fn saved_objects_refer_to_each_other_and_hold_json() {
    let objects = objects(Target::Dashboards(Flavour::Elasticsearch));
    let key = |object: &Value| (object["type"].clone(), object["id"].clone());
    let mut keys: Vec<(Value, Value)> = Vec::new();
    for object in &objects {
        let (attributes, references) = (&object["attributes"], object["references"].as_array().unwrap());
        assert!(!keys.contains(&key(object)), "{} is there twice", object["id"]);
        assert!(references.iter().all(|of| keys.contains(&key(of))), "{} refers to nothing", object["id"]);
        let named = |name: &Value| references.iter().filter(|of| of["name"] == *name).count() == 1;
        match object["type"].as_str().unwrap() {
            "index-pattern" => {
                assert_eq!(inner(&attributes["fieldFormatMap"])["event.duration"]["id"], "duration");
            }
            "visualization" | "search" => {
                let source = inner(&attributes["kibanaSavedObjectMeta"]["searchSourceJSON"]);
                assert!(named(&source["indexRefName"]));
                assert_eq!(source["query"]["language"], "kuery");
            }
            "dashboard" => {
                let panels = inner(&attributes["panelsJSON"]);
                let panels = panels.as_array().unwrap();
                assert_eq!(panels.len(), references.len());
                assert!(panels.iter().all(|panel| named(&panel["panelRefName"])));
                assert_no_overlap(panels);
                inner(&attributes["optionsJSON"]);
            }
            kind => panic!("{kind}"),
        }
        if object["type"] == "visualization" {
            let state = inner(&attributes["visState"]);
            let ids: Vec<_> = state["aggs"].as_array().unwrap().iter().map(|agg| agg["id"].clone()).collect();
            assert!(
                !ids.is_empty()
                    && ids.iter().zip(1..).all(|(id, number)| id.as_str() == Some(&format!("{number}")))
            );
            assert_eq!(state["title"], attributes["title"]);
        }
        keys.push(key(object));
    }
    assert_eq!(objects.iter().filter(|object| object["type"] == "dashboard").count(), DASHBOARDS.len());
}

fn assert_no_overlap(panels: &[Value]) {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let number = |name: &str| panel["gridData"][name].as_u64().unwrap();
        for (x, y) in (0..number("w")).flat_map(|x| (0..number("h")).map(move |y| (x, y))) {
            assert!(number("x") + x < u64::from(WIDTH) && taken.insert((number("x") + x, number("y") + y)));
        }
    }
}

#[test]
fn the_form_holds_the_objects_one_a_line() {
    for (name, target) in
        Target::ALL.into_iter().filter(|(_, target)| matches!(target, Target::Dashboards(_)))
    {
        let steps = plan(target, &Options::default());
        let header =
            |name: &str| steps[0].headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        let boundary =
            header("content-type").unwrap().strip_prefix("multipart/form-data; boundary=").unwrap();
        assert!(header(if name == "kibana" { "kbn-xsrf" } else { "osd-xsrf" }).is_some());
        let text = String::from_utf8(steps[0].body.bytes()).unwrap();
        let parts: Vec<_> = text.split(&format!("--{boundary}")).collect();
        assert_eq!((parts.len(), parts[0], parts[2]), (3, "", "--\r\n"));
        let (head, file) = parts[1].split_once("\r\n\r\n").unwrap();
        assert!(head.contains("filename=\"headtrail.ndjson\""));
        let lines: Vec<Value> = file.trim().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, objects(target));
    }
}

/// Compares with a file that was reviewed; if they differ, says what to do if that is meant.
fn reviewed(path: &str, text: &str) -> Option<String> {
    let reviewed = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::fs::read_to_string(&reviewed).unwrap_or_default() == text {
        return None;
    }
    let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join(reviewed.file_name().unwrap());
    std::fs::write(&now, text).unwrap();
    Some(format!("not what is made now; if that is meant: cp {} {}", now.display(), reviewed.display()))
}

#[test]
fn plans_are_as_reviewed() {
    let printed = |target| print(&plan(target, &Options::default()));
    let of_file = |(name, target)| reviewed(&format!("tests/data/setup-{name}.txt"), &printed(target));
    let [elasticsearch, opensearch, kibana, dashboards] = Target::ALL;
    let wrong: Vec<_> = [elasticsearch, opensearch, kibana].into_iter().filter_map(of_file).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The two differ in the name of a header only.
    assert_eq!(printed(dashboards.1), printed(kibana.1).replace("kbn-xsrf", "osd-xsrf"));
}

#[test]
fn the_page_of_dashboards_is_as_reviewed() {
    assert_eq!(reviewed("../../docs/elk/dashboards.md", &page()), None);
}
