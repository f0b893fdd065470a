//! The metrics that `/metrics` returns in OpenMetrics format.

use std::collections::HashMap;

use capstan_tests::{Client, Daemon, guests};

use crate::{CAPSTAN, serving};

/// A page of metrics: the types by metric, and the values by series.
#[derive(Debug, Default)]
struct Page {
    types: HashMap<String, String>,
    values: HashMap<String, f64>,
}

impl Page {
    /// Parses a page strictly: a type before the samples of each metric, one sample per line, and an end marker.
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut lines = text.lines();
        assert_eq!(lines.next_back(), Some("# EOF"), "{text}");
        for line in lines {
            if let Some(described) = line.strip_prefix("# ") {
                let [keyword, name, rest] = described.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line:?}")
                };
                assert!(["HELP", "TYPE"].contains(&keyword), "{line:?}");
                if keyword == "TYPE" {
                    let twice = page.types.insert(name.to_owned(), rest.to_owned());
                    assert_eq!(twice, None, "{name} has two types");
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(plain(name) && labels.ends_with('}'), "{line:?}");
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
                assert!(plain(key) && value.ends_with('"'), "{line:?}");
            }
            let typed = ["", "_total", "_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .any(|metric| page.types.contains_key(metric));
            assert!(typed, "no type before {line:?}");
            let twice = page.values.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(twice, None, "{series} occurs twice");
        }
        page
    }

    fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.values))
    }
}

/// Returns the current value of `series`.
pub(crate) async fn metric_value(client: &Client, series: &str) -> f64 {
    page(client).await.value(series)
}

async fn page(client: &Client) -> Page {
    let reply = client.get("/metrics").send().await;
    assert_eq!(reply.status, 200);
    assert!(reply.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{reply:?}");
    Page::read(std::str::from_utf8(&reply.body).unwrap())
}

#[tokio::test]
async fn runs_and_requests_are_counted() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    client.push("trap", guests::run::TRAP_UNREACHABLE).await;
    let before = page(&client).await;
    for _ in 0..3 {
        client.run("hello").send().await.assert_outcome("exited", 0);
    }
    client.run("trap").send().await.assert_outcome("trapped", 134);
    client.run("nothing").send().await.error(404, "unknown_handler");
    client.get("/nothing/here").send().await.error(404, "not_found");
    let after = page(&client).await;
    let grown = |series: &str| after.value(series) - before.value(series);

    let close = |left: f64, right: f64| assert!((left - right).abs() < 0.5, "{left} is not {right}: {after:#?}");
    close(grown("capstan_runs_total{outcome=\"exited\"}"), 3.0);
    close(grown("capstan_runs_total{outcome=\"trapped\"}"), 1.0);
    close(grown("capstan_runs_total{outcome=\"lost\"}"), 0.0);
    let route = |status: &str| {
        format!("capstan_requests_total{{method=\"POST\",path=\"/handlers/{{name}}/run\",status=\"{status}\"}}")
    };
    close(grown(&route("2xx")), 4.0);
    close(grown(&route("4xx")), 1.0);
    close(grown("capstan_requests_total{method=\"other\",path=\"unknown\",status=\"4xx\"}"), 1.0);
    for phase in ["queue", "instantiate", "run"] {
        close(grown(&format!("capstan_run_phase_seconds_count{{phase=\"{phase}\"}}")), 4.0);
    }
    assert!(grown("capstan_run_phase_seconds_sum{phase=\"run\"}") > 0.0);
    // A start and an end for each run.
    close(grown("capstan_events_total"), 8.0);
}

#[tokio::test]
async fn histogram_buckets_increase_up_to_the_count() {
    let (_daemon, client) = serving("hello", guests::run::HELLO).await;
    client.run("hello").send().await.assert_outcome("exited", 0);
    let reply = client.get("/v1/metrics").send().await;
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let page = Page::read(&text);
    assert_eq!(page.types["capstan_run_phase_seconds"], "histogram");
    for phase in ["queue", "load", "instantiate", "run"] {
        let prefix = "capstan_run_phase_seconds_bucket{le=\"";
        let of_phase = format!("\",phase=\"{phase}\"}}");
        let buckets: Vec<f64> = text
            .lines()
            .filter_map(|line| line.strip_prefix(prefix)?.split_once(&of_phase))
            .map(|(_, count)| count.trim().parse().unwrap())
            .collect();
        assert_eq!(buckets.len(), 26, "{phase}: {text}");
        assert!(buckets.is_sorted(), "{phase}: {buckets:?}");
        let count = page.value(&format!("capstan_run_phase_seconds_count{{phase=\"{phase}\"}}"));
        assert_eq!(buckets.last(), Some(&count), "{phase}");
    }
}

#[tokio::test]
async fn gauges_describe_the_current_state() {
    let (_daemon, client) = serving("sleeps", guests::limits::SLEEP_FOR_EVER).await;
    let idle = page(&client).await;
    for (series, value) in [
        ("capstan_runs_running", 0.0),
        ("capstan_runs_queued", 0.0),
        ("capstan_compilers", 0.0),
        ("capstan_draining", 0.0),
        ("capstan_gate{state=\"open\"}", 1.0),
        ("capstan_gate{state=\"shut\"}", 0.0),
        ("capstan_compiles_total{result=\"compiled\"}", 1.0),
        ("capstan_compiles_total{result=\"refused\"}", 0.0),
        ("capstan_pool_slots_used{pool=\"memories\"}", 0.0),
        ("capstan_log_lines_dropped_total", 0.0),
        ("capstan_event_gaps_total", 0.0),
    ] {
        assert!((idle.value(series) - value).abs() < f64::EPSILON, "{series} is {}", idle.value(series));
    }
    let info = client.get("/info").send().await.json();
    let (limit, ceiling) = (info["limits"]["runs"].as_f64().unwrap(), info["limits"]["runs_ceiling"].as_f64().unwrap());
    assert!((idle.value("capstan_runs_limit") - limit).abs() < f64::EPSILON && limit <= ceiling, "{info}");
    let (free, handlers) = (idle.value("capstan_runs_free"), idle.value("capstan_handlers"));
    assert!(free >= 1.0 && (free - idle.value("capstan_runs_limit")).abs() < f64::EPSILON);
    assert!(handlers >= 6.0);

    let running = client.run("sleeps").open().await;
    let busy = capstan_tests::eventually("the run to appear in the metrics", async || {
        let page = page(&client).await;
        (page.value("capstan_pool_slots_used{pool=\"memories\"}") > 0.0).then_some(page)
    });
    let busy = busy.await;
    assert!((busy.value("capstan_runs_running") - 1.0).abs() < f64::EPSILON);
    assert!((free - busy.value("capstan_runs_free") - 1.0).abs() < f64::EPSILON);
    drop(running);
    capstan_tests::eventually("the slot to be free", async || {
        let page = page(&client).await;
        (page.value("capstan_pool_slots_used{pool=\"memories\"}") < 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn metrics_reject_other_methods() {
    let daemon = Daemon::start(CAPSTAN);
    daemon.client().post("/metrics").send().await.error(405, "method_not_allowed");
}
