//! [`StreamTasks`]: the tasks that HTTP/2 needs beside that of its connection.

use std::sync::{Arc, Mutex};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// The tasks of the streams of one connection. Dropping the last clone ends them.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamTasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        let mut tasks = self.0.lock().expect("no panic while the lock is held");
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}
