//! The page of metrics, in the text format that Prometheus reads.

use capstan_core::metrics::StaticFamily;
use capstan_listen::listenbuffer::GateState;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Daemon;

/// Everything that is counted, and everything that can be asked for now.
pub(super) fn page(daemon: &Daemon) -> String {
    let mut page = Registry::with_prefix("capstan");
    let Daemon { engine, gate, api, facts, .. } = daemon;

    page.register("requests", "Requests by route, method and class of status", api.request_counts().clone());
    let runs = engine.run_metrics();
    page.register("runs", "Runs that have ended, by outcome", runs.outcomes.clone());
    page.register("run_phase_seconds", "What runs took, by phase", runs.phases.clone());

    let counts = engine.counts();
    page.register("runs_running", "Runs that go on", gauge(counts.running.saturating_sub(counts.queued)));
    page.register("runs_queued", "Jobs that wait for a slot", gauge(counts.queued));
    page.register("runs_free", "Slots for runs that are free", gauge(counts.free));
    page.register("runs_limit", "Runs that may go on at a time", gauge(facts.runs));
    page.register("handlers", "Handlers registered", gauge(counts.handlers));

    let state = gate.state();
    let states = [("open", GateState::Open == state), ("shut", state.is_shut()), ("failed", is_failed(&state))];
    page.register("gate", "1 for the state that the gate is in", gauges("state", states.map(|(s, is)| (s, is.into()))));
    if let Some(held) = api.waiting() {
        page.register("connections_held", "Connections that wait to be accepted, or for the gate", gauge(held));
    }
    if let Some(tls) = &daemon.tls {
        page.register("tls_handshakes", "Handshakes of TLS, by what became of them", tls.counts().clone());
        let not_after = ConstGauge::new(tls.not_after().as_second());
        page.register(
            "tls_certificate_not_after_seconds",
            "When the daemon's certificate expires, in Unix time",
            not_after,
        );
    }
    page.register("draining", "1 once the daemon stops", gauge(usize::from(engine.is_shutting_down())));

    let events = engine.events();
    page.register("events", "Events published; also the number of the last", ConstCounter::new(events.last()));
    page.register("event_gaps", "Gaps that slow readers of events were told of", ConstCounter::new(events.gaps()));
    page.register("event_subscribers", "Readers of events", gauge(events.subscribers()));
    page.register(
        "log_lines_dropped",
        "Lines of the log that nobody took",
        ConstCounter::new((facts.log_lines_dropped)()),
    );

    // It is there before the gate opens, and so before anybody can ask.
    if let Some(sandbox) = daemon.sandbox.get() {
        let compiler = sandbox.compile_stats();
        page.register("compilers", "Children that compile now", gauge(compiler.running));
        page.register("compiles", "Programs that a load asked for, by what came of it", compiler.results);
        page.register("pool_slots_used", "Slots of the pools that runs use now", gauges("pool", sandbox.slots_used()));
    }

    let mut text = String::new();
    encode(&mut text, &page).expect("a String takes all that is written");
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
