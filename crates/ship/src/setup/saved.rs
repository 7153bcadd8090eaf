//! The dashboards as saved objects.
//!
//! In the form of 7.10, the last that Kibana and OpenSearch Dashboards have in common: Dashboards still has it, and Kibana migrates what it
//! imports. That is why panels are classic visualisations, and not those of Lens.

use std::fmt::Write;

use headtrail_record::ecs_fields::{FIELDS, Field};
use serde_json::{Map, Value, json};

use super::PATTERN;
use super::dashboards::{
    DASHBOARDS, Dashboard, Measure, Order, PERCENTS, Panel, STATUS, Shows, Split, Term, WIDTH,
};
use super::step::{Body, Kind, Step};
use crate::elasticsearch::Flavour;

/// Id of the index pattern (in Kibana's newer words: data view).
const INDEX_PATTERN: &str = "headtrail";
/// How many values a table has of its first field, and of each further one.
const ROWS: u32 = 20;
const ROWS_WITHIN: u32 = 5;
/// Into how many parts bars are taken apart.
const PARTS: u32 = 10;

/// The one step of a plan for dashboards.
pub(super) fn step(flavour: Flavour) -> Step {
    let token = match flavour {
        Flavour::Elasticsearch => "kbn-xsrf",
        Flavour::OpenSearch => "osd-xsrf",
    };
    let mut step = Step::new(
        "An index pattern, and dashboards with their panels.",
        Kind::Import,
        "POST",
        "/api/saved_objects/_import?overwrite=true",
        Body::File(objects()),
    );
    step.headers.push((token, "headtrail".to_owned()));
    step
}

/// All objects; what is referred to comes first.
fn objects() -> Vec<Value> {
    let mut objects = vec![index_pattern()];
    for of in DASHBOARDS {
        objects.extend(of.panels.iter().map(|panel| match panel.shows {
            Shows::Records(columns, sort, order) => search(of, panel, columns, sort, order),
            _ => visualization(of, panel),
        }));
        objects.push(dashboard(of));
    }
    objects
}

/// A saved object. The version is that of its form.
fn object(kind: &str, version: &str, id: &str, attributes: Value, references: Vec<Value>) -> Value {
    json!({
        "type": kind,
        "id": id,
        "migrationVersion": {kind: version},
        "attributes": attributes,
        "references": references,
    })
}

fn index_pattern() -> Value {
    let formats: Map<String, Value> =
        FIELDS.iter().filter_map(|field| Some((field.name.to_owned(), format(field)?))).collect();
    let attributes = json!({
        "title": PATTERN,
        "timeFieldName": "@timestamp",
        "fieldFormatMap": Value::Object(formats).to_string(),
    });
    object("index-pattern", "7.6.0", INDEX_PATTERN, attributes, Vec::new())
}

/// How a number is shown, where it is not as numbers are.
fn format(field: &Field) -> Option<Value> {
    let name = field.name;
    if field.kind == "keyword" {
        None
    } else if name == "event.duration" || name.ends_with("_ns") {
        Some(json!({
            "id": "duration",
            "params": {"inputFormat": "nanoseconds", "outputFormat": "asMilliseconds", "outputPrecision": 3},
        }))
    } else if name.ends_with("bytes") {
        Some(json!({"id": "bytes"}))
    } else if [".port", ".pid", ".status_code"].iter().any(|end| name.ends_with(end)) {
        // Names rather than amounts: without separators.
        Some(json!({"id": "number", "params": {"pattern": "0"}}))
    } else {
        None
    }
}

/// `headtrail-overview-top-clients`.
fn panel_id(of: &Dashboard, panel: &Panel) -> String {
    let title = panel.title.to_ascii_lowercase().replace(' ', "-");
    format!("headtrail-{}-{title}", of.id)
}

/// Where the data comes from, for a panel that has some.
fn source(panel: &Panel) -> (Value, Vec<Value>) {
    let name = "kibanaSavedObjectMeta.searchSourceJSON.index";
    let source = json!({
        "query": {"language": "kuery", "query": query(panel.only)},
        "filter": [],
        "indexRefName": name,
    });
    let reference = json!({"name": name, "type": "index-pattern", "id": INDEX_PATTERN});
    (json!({"searchSourceJSON": source.to_string()}), vec![reference])
}

/// In the query language that both products have (KQL, DQL).
fn query(only: &[Term]) -> String {
    let terms = only.iter().map(|term| match term {
        Term::Exchange => {
            r#"event.dataset: "headtrail.transaction" and not headtrail.phase: "start""#.to_owned()
        }
        Term::Is(field, value) => format!("{field}: \"{value}\""),
        Term::OneOf(field, values) => {
            let values: Vec<_> = values.iter().map(u32::to_string).collect();
            format!("{field}: ({})", values.join(" or "))
        }
        Term::AtLeast(field, value) => format!("{field} >= {value}"),
        Term::Exists(field) => format!("{field}: *"),
    });
    terms.collect::<Vec<_>>().join(" and ")
}

fn search(of: &Dashboard, panel: &Panel, columns: &[&str], sort: &str, order: Order) -> Value {
    let (meta, references) = source(panel);
    let order = match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    };
    let attributes = json!({
        "title": title(of, panel),
        "description": panel.question,
        "hits": 0,
        "columns": columns,
        "sort": [[sort, order]],
        "version": 1,
        "kibanaSavedObjectMeta": meta,
    });
    object("search", "7.9.3", &panel_id(of, panel), attributes, references)
}

/// Titles of panels are listed without their dashboard.
fn title(of: &Dashboard, panel: &Panel) -> String {
    format!("{}: {}", of.title, panel.title)
}

fn visualization(of: &Dashboard, panel: &Panel) -> Value {
    let (meta, references) = source(panel);
    let (kind, params, aggs) = state(panel.shows);
    let title = title(of, panel);
    let state = json!({"title": title, "type": kind, "params": params, "aggs": aggs});
    let attributes = json!({
        "title": title,
        "description": panel.question,
        "visState": state.to_string(),
        "uiStateJSON": "{}",
        "version": 1,
        "kibanaSavedObjectMeta": meta,
    });
    object("visualization", "7.10.0", &panel_id(of, panel), attributes, references)
}

/// Kind, parameters and aggregations of a visualisation.
fn state(shows: Shows) -> (&'static str, Value, Vec<Value>) {
    let mut aggs = Aggregations::default();
    match shows {
        Shows::Number(measure) => {
            aggs.measure(measure);
            ("metric", number_params(), aggs.0)
        }
        Shows::Bars(measure, split) => {
            aggs.measure(measure);
            // Before the time, so that the parts are the same in each bar.
            match split {
                Split::By(field) => aggs.terms("group", field, PARTS),
                Split::StatusClass => aggs.push("filters", "group", status_classes()),
            }
            aggs.time();
            ("histogram", chart_params("histogram", "stacked"), aggs.0)
        }
        Shows::Lines(measure) => {
            aggs.measure(measure);
            aggs.time();
            ("line", chart_params("line", "normal"), aggs.0)
        }
        Shows::Table(rows, measures) => {
            measures.iter().for_each(|measure| aggs.measure(*measure));
            for (depth, field) in rows.iter().enumerate() {
                aggs.terms("bucket", field, if depth == 0 { ROWS } else { ROWS_WITHIN });
            }
            ("table", table_params(), aggs.0)
        }
        // Not a visualisation, and not asked for.
        Shows::Records(..) => ("table", table_params(), aggs.0),
    }
}

/// Numbered from 1.
#[derive(Default)]
struct Aggregations(Vec<Value>);

impl Aggregations {
    fn push(&mut self, kind: &str, schema: &str, params: Value) {
        let id = (self.0.len() + 1).to_string();
        self.0.push(json!({"id": id, "enabled": true, "type": kind, "schema": schema, "params": params}));
    }

    fn measure(&mut self, measure: Measure) {
        let (kind, params) = match measure {
            Measure::Count => ("count", json!({})),
            Measure::Sum(field) => ("sum", json!({"field": field})),
            Measure::Max(field) => ("max", json!({"field": field})),
            Measure::Distinct(field) => ("cardinality", json!({"field": field})),
            Measure::Percentiles(field) => ("percentiles", json!({"field": field, "percents": PERCENTS})),
        };
        self.push(kind, "metric", params);
    }

    fn time(&mut self) {
        let params =
            json!({"field": "@timestamp", "interval": "auto", "min_doc_count": 1, "extended_bounds": {}});
        self.push("date_histogram", "segment", params);
    }

    /// Values of a field, most of the first measure first.
    fn terms(&mut self, schema: &str, field: &str, size: u32) {
        let params = json!({
            "field": field, "orderBy": "1", "order": "desc", "size": size,
            "otherBucket": false, "otherBucketLabel": "Other",
            "missingBucket": false, "missingBucketLabel": "Missing",
        });
        self.push("terms", schema, params);
    }
}

fn status_classes() -> Value {
    let filter = |query: String, label: String| json!({"input": {"language": "kuery", "query": query}, "label": label});
    let mut filters: Vec<_> = (1..=5)
        .map(|class| {
            let (from, to) = (class * 100, class * 100 + 100);
            filter(format!("{STATUS} >= {from} and {STATUS} < {to}"), format!("{class}xx"))
        })
        .collect();
    filters.push(filter(format!("not {STATUS}: *"), "no answer".to_owned()));
    json!({"filters": filters})
}

fn number_params() -> Value {
    json!({
        "addTooltip": true,
        "addLegend": false,
        "type": "metric",
        "metric": {
            "percentageMode": false,
            "useRanges": false,
            "colorSchema": "Green to Red",
            "metricColorMode": "None",
            "colorsRange": [{"from": 0, "to": 10_000}],
            "labels": {"show": true},
            "invertColors": false,
            "style": {"bgFill": "#000", "bgColor": false, "labelColor": false, "subText": "", "fontSize": 36},
        },
    })
}

fn table_params() -> Value {
    json!({
        "perPage": 10,
        "showPartialRows": false,
        "showMetricsAtAllLevels": false,
        "showTotal": false,
        "totalFunc": "sum",
        "percentageCol": "",
        "sort": {"columnIndex": null, "direction": null},
    })
}

fn chart_params(kind: &str, mode: &str) -> Value {
    json!({
        "type": kind,
        "grid": {"categoryLines": false},
        "categoryAxes": [{
            "id": "CategoryAxis-1", "type": "category", "position": "bottom", "show": true, "style": {},
            "scale": {"type": "linear"}, "labels": {"show": true, "filter": true, "truncate": 100}, "title": {},
        }],
        "valueAxes": [{
            "id": "ValueAxis-1", "name": "LeftAxis-1", "type": "value", "position": "left", "show": true, "style": {},
            "scale": {"type": "linear", "mode": "normal"},
            "labels": {"show": true, "rotate": 0, "filter": false, "truncate": 100}, "title": {"text": ""},
        }],
        "seriesParams": [{
            "show": true, "type": kind, "mode": mode, "data": {"label": "", "id": "1"},
            "valueAxis": "ValueAxis-1", "drawLinesBetweenPoints": true, "lineWidth": 2,
            "interpolate": "linear", "showCircles": true,
        }],
        "addTooltip": true,
        "addLegend": true,
        "legendPosition": "right",
        "times": [],
        "addTimeMarker": false,
        "labels": {"show": false},
        "thresholdLine": {
            "show": false, "value": 10, "width": 1, "style": "full", "color": "#E7664C",
        },
    })
}

/// Rows of panels, as wide and as high as these are.
fn dashboard(of: &Dashboard) -> Value {
    let (mut panels, mut references) = (Vec::new(), Vec::new());
    let (mut x, mut y, mut row_height) = (0, 0, 0);
    for (index, panel) in of.panels.iter().enumerate() {
        let (kind, height) = match panel.shows {
            Shows::Number(_) => ("visualization", 7),
            Shows::Records(..) => ("search", 20),
            _ => ("visualization", 14),
        };
        if x + panel.width > WIDTH {
            (x, y, row_height) = (0, y + row_height, 0);
        }
        let mut name = String::from("panel_");
        let _ = write!(name, "{index}");
        panels.push(json!({
            "version": "7.10.0",
            "gridData": {"x": x, "y": y, "w": panel.width, "h": height, "i": index.to_string()},
            "panelIndex": index.to_string(),
            "embeddableConfig": {"title": panel.title},
            "title": panel.title,
            "panelRefName": name,
        }));
        references.push(json!({"name": name, "type": kind, "id": panel_id(of, panel)}));
        x += panel.width;
        row_height = row_height.max(height);
    }
    let source = json!({"query": {"language": "kuery", "query": ""}, "filter": []});
    let attributes = json!({
        "title": of.title,
        "description": of.question,
        "hits": 0,
        "panelsJSON": Value::Array(panels).to_string(),
        "optionsJSON": json!({"hidePanelTitles": false, "useMargins": true}).to_string(),
        "version": 1,
        "timeRestore": false,
        "kibanaSavedObjectMeta": {"searchSourceJSON": source.to_string()},
    });
    object("dashboard", "7.9.3", &format!("headtrail-{}", of.id), attributes, references)
}
