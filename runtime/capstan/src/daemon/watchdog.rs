//! The watchdog: reports to the service manager at regular intervals that the daemon is alive.

use std::convert::Infallible;
use std::time::Duration;

use capstan_engine::engine::Engine;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::notify::Notifier;

/// Reports twice per `timeout` that the daemon is alive. Never reports if `timeout` is `None`. Cancel-safe.
///
/// Each report has proof: a timer of the control runtime has fired, one of its threads has run a task, and the task has taken the locks of
/// the engine that every job takes. Guests run on other threads, so their load delays none of this.
pub(super) async fn watch(notifier: &Notifier, engine: &Engine, timeout: Option<Duration>) -> Infallible {
    let Some(timeout) = timeout else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(timeout / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut probes = JoinSet::new();
    loop {
        ticks.tick().await;
        let engine = engine.clone();
        probes.spawn(async move { engine.counts() });
        if let Some(Ok(_)) = probes.join_next().await {
            notifier.alive();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use capstan_core::policy::Ceiling;
    use capstan_engine::engine;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn watch_reports_twice_per_timeout_and_never_without_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let (notifier, mut buffer) = (Notifier::new(Some(path.as_os_str())), [0; 64]);
        let engine = Engine::new(engine::Config { ceiling: Ceiling::default(), runs: 1, queue: 0 });
        let mut count_reports = async |timeout| {
            let watching = watch(&notifier, &engine, timeout);
            assert!(tokio::time::timeout(Duration::from_millis(9_500), watching).await.is_err());
            std::iter::from_fn(|| {
                manager.recv(&mut buffer).ok().map(|length| assert_eq!(&buffer[..length], b"WATCHDOG=1"))
            })
            .count()
        };
        assert_eq!(count_reports(Some(Duration::from_secs(2))).await, 10);
        assert_eq!(count_reports(None).await, 0);
    }
}
