//! What a health check looks like. The list is data; docs/volume.md has the same one.

use crate::transaction::{Message, RawTransaction};

/// Beginnings of the User-Agent of programs that do nothing but check.
pub const AGENTS: &[&str] = &[
    // Kubernetes: liveness, readiness and startup probes.
    "kube-probe/",
    // AWS load balancers.
    "ELB-HealthChecker/",
    // Google Cloud load balancers and uptime checks.
    "GoogleHC/",
    "GoogleStackdriverMonitoring-UptimeChecks",
    // HashiCorp Consul.
    "Consul Health Check",
    // Envoy's active health checks.
    "Envoy/HC",
    // Amazon Route 53.
    "Amazon-Route53-Health-Check-Service",
];

/// Lines of the response that say that it answers a health check, in lower case.
pub const RESPONSE_LINES: &[&str] = &[
    // Set by Envoy's health check filter, also where it lets the request pass.
    "x-envoy-upstream-healthchecked-cluster",
];

/// Paths that are asked for by GET or HEAD to learn that a server lives.
pub const PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/health", "/ping"];

/// Whether it is a health check that was answered well (status 200 to 399, as Kubernetes has it). One that was not is
/// never taken for one: it is what an operator looks for.
pub(super) fn is_answered_check(raw: &RawTransaction, path: &[u8], agent: Option<&[u8]>) -> bool {
    let Some(response) = &raw.response else { return false };
    if !raw.incomplete.is_empty() || !response.status().is_some_and(|s| (200..400).contains(&s)) {
        return false;
    }
    let asks = raw.request.as_ref().and_then(Message::method);
    (matches!(asks, Some(b"GET" | b"HEAD")) && PATHS.iter().any(|p| p.as_bytes() == path))
        || agent.is_some_and(|agent| AGENTS.iter().any(|a| agent.starts_with(a.as_bytes())))
        || response
            .lines()
            .any(|(name, _)| RESPONSE_LINES.iter().any(|line| name.eq_ignore_ascii_case(line.as_bytes())))
}
