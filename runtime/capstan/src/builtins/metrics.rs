//! The metrics of the daemon, in the text format of Prometheus.

use capstan_core::metrics::StaticFamily;
use capstan_listen::listenbuffer::GateState;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::state::DaemonState;

/// Returns all counters, and gauges with their current values.
pub(super) fn page(daemon: &DaemonState) -> String {
    let mut page = Registry::with_prefix("capstan");
    let DaemonState { engine, gate, api, info, .. } = daemon;

    page.register("requests", "Requests by route, method and class of status", api.request_counts().clone());
    let runs = engine.run_metrics();
    page.register("runs", "Runs that have ended, by outcome", runs.outcomes.clone());
    page.register("run_phase_seconds", "Duration of runs, by phase", runs.phases.clone());

    let counts = engine.counts();
    page.register("runs_running", "Runs in progress", gauge(counts.running.saturating_sub(counts.queued)));
    page.register("runs_queued", "Jobs that wait for a slot", gauge(counts.queued));
    page.register("runs_free", "Free slots for runs", gauge(counts.free));
    page.register("runs_limit", "Limit on concurrent runs", gauge(info.runs));
    page.register("handlers", "Registered handlers", gauge(counts.handlers));

    let state = gate.state();
    let states = [("open", GateState::Open == state), ("shut", state.is_shut()), ("failed", is_failed(&state))];
    page.register("gate", "1 for the current state of the gate", gauges("state", states.map(|(s, is)| (s, is.into()))));
    if let Some(held) = api.waiting() {
        page.register("connections_held", "Connections that wait to be accepted, or for the gate to open", gauge(held));
    }
    if let Some(tls) = &daemon.tls {
        page.register("tls_handshakes", "TLS handshakes, by result", tls.counts().clone());
        let not_after = ConstGauge::new(tls.not_after().as_second());
        page.register(
            "tls_certificate_not_after_seconds",
            "When the daemon's certificate expires, in Unix time",
            not_after,
        );
    }
    page.register("draining", "1 while the daemon is stopping", gauge(usize::from(engine.is_shutting_down())));

    let events = engine.events();
    page.register("events", "Published events since the start of the daemon", ConstCounter::new(events.count()));
    page.register("event_gaps", "Gaps that were reported to slow readers of events", ConstCounter::new(events.gaps()));
    page.register("event_subscribers", "Readers of events", gauge(events.subscribers()));
    page.register(
        "log_lines_dropped",
        "Log lines that were dropped because the reader was too slow",
        ConstCounter::new((info.log_lines_dropped)()),
    );

    // The sandbox is set before the gate opens, so it is missing only during the start.
    if let Some(sandbox) = daemon.sandbox.get() {
        let compiler = sandbox.compile_stats();
        page.register("compilers", "Compiler processes in progress", gauge(compiler.running));
        page.register("compiles", "Programs that were requested to be compiled, by result", compiler.results);
        page.register("pool_slots_used", "Slots of the sandbox pools in use", gauges("pool", sandbox.slots_used()));
    }

    let mut text = String::new();
    encode(&mut text, &page).expect("writing to a String does not fail");
    text
}

fn is_failed(state: &GateState) -> bool {
    matches!(state, GateState::Failed(_))
}

fn gauge(value: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn gauges<const N: usize>(label: &'static str, values: [(&'static str, usize); N]) -> StaticFamily<1, ConstGauge<i64>> {
    StaticFamily::from_metrics(values.map(|(value, now)| ([(label, value)], gauge(now))))
}
