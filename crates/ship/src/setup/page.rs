//! The page of dashboards, from their table.

use std::fmt::Write;

use super::dashboards::DASHBOARDS;

/// `docs/elk/dashboards.md`.
#[must_use]
pub fn page() -> String {
    let mut page = "\
<!-- Made from crates/ship/src/setup/dashboards.rs; the test that compares them says how to renew this. -->
# Dashboards

What `headtrail setup kibana` and `headtrail setup opensearch-dashboards` make ([how](README.md)). All of them follow the time range and
the query line above them, and a click on a value narrows them to it.
"
    .to_owned();
    for dashboard in DASHBOARDS {
        let _ = write!(
            page,
            "\n## {}\n\n{}\n\n| panel | what question it answers | fields |\n| --- | --- | --- |\n",
            dashboard.title, dashboard.question
        );
        for panel in dashboard.panels {
            let fields: Vec<_> = panel.fields().iter().map(|field| format!("`{field}`")).collect();
            let _ = writeln!(page, "| {} | {} | {} |", panel.title, panel.question, fields.join(", "));
        }
    }
    page
}
