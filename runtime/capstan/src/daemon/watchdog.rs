//! The watchdog: the service manager hears at regular intervals that the daemon lives, for as long as it does.

use std::convert::Infallible;
use std::time::Duration;

use capstan_engine::engine::Engine;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::notify::Notify;

/// Tells `notify` twice in each `within` that the daemon lives; never, where the manager does not ask. Cancel-safe.
///
/// What is told was seen to be so: a timer of the control runtime went off, one of its threads took up a task, and that got through the locks of
/// the engine that every job goes through. Load from guests delays none of this, since they run elsewhere.
pub(super) async fn watch(notify: &Notify, engine: &Engine, within: Option<Duration>) -> Infallible {
    let Some(within) = within else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(within / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut probes = JoinSet::new();
    loop {
        ticks.tick().await;
        let engine = engine.clone();
        probes.spawn(async move { engine.counts() });
        if let Some(Ok(_)) = probes.join_next().await {
            notify.alive();
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
    async fn the_manager_hears_of_life_twice_in_its_time_and_never_where_it_does_not_ask() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let (notify, mut buffer) = (Notify::to(Some(path.as_os_str())), [0; 64]);
        let engine = Engine::new(engine::Config { ceiling: Ceiling::default(), runs: 1, queue: 0 });
        let mut heard = async |within| {
            let watching = watch(&notify, &engine, within);
            assert!(tokio::time::timeout(Duration::from_millis(9_500), watching).await.is_err());
            std::iter::from_fn(|| {
                manager.recv(&mut buffer).ok().map(|length| assert_eq!(&buffer[..length], b"WATCHDOG=1"))
            })
            .count()
        };
        assert_eq!(heard(Some(Duration::from_secs(2))).await, 10);
        assert_eq!(heard(None).await, 0);
    }
}
