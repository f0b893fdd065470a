//! `capstan top`: queues and jobs, full-screen.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use jiff::Timestamp;
use rustix::termios::tcgetwinsize;
use tokio::time::{MissedTickBehavior, interval};

use super::client::{Client, ClientError};
use super::error::CliError;
use super::interrupt::Interrupt;
use super::jobs::{self, JobRecord};
use super::{output, ps, queue};

/// The time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// Switches to the alternate screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Moves the cursor to the top. Each line then clears the rest of itself, so that nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// Lines and columns of a terminal that does not know its size.
const DEFAULT_SIZE: (usize, usize) = (24, 80);

/// The command line of `capstan top`.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Print one update and exit; the default if stdout is not a terminal [default: off]
    #[arg(long)]
    once: bool,
}

impl Top {
    /// Shows updates until Ctrl-C.
    ///
    /// # Errors
    /// [`CliError`]
    pub(super) async fn run(self, client: &Client) -> Result<ExitCode, CliError> {
        if self.once || !io::stdout().is_terminal() {
            let text = screen(client, usize::MAX).await?;
            output::print(text.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut interrupt = Interrupt::listen()?;
        output::print(ENTER.as_bytes())?;
        let shown = tokio::select! {
            result = show(client) => result,
            () = interrupt.received() => Ok(()),
        };
        output::print(LEAVE.as_bytes())?;
        shown.map(|()| ExitCode::SUCCESS)
    }
}

async fn show(client: &Client) -> Result<(), CliError> {
    let mut updates = interval(UPDATE_INTERVAL);
    updates.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        updates.tick().await;
        let size = tcgetwinsize(io::stdout()).ok().map(|size| (size.ws_row.into(), size.ws_col.into()));
        let (lines, columns) = size.filter(|(lines, columns)| *lines > 0 && *columns > 0).unwrap_or(DEFAULT_SIZE);
        let text = screen(client, lines).await?;
        let fitted = text.lines().take(lines - 1).map(|line| {
            let line: String = line.chars().take(columns).collect();
            format!("{line}{CLEAR_LINE}\r\n")
        });
        output::print(format!("{HOME}{}{CLEAR_BELOW}", fitted.collect::<String>()).as_bytes())?;
    }
}

/// Returns the text of one update. No more than `lines` jobs are read.
async fn screen(client: &Client, lines: usize) -> Result<String, ClientError> {
    let now = Timestamp::now();
    let info = client.call(Method::GET, "/info").await?;
    let queues = client.call(Method::GET, "/queues").await?;
    let jobs = jobs::list(client, &[("state", jobs::UNFINISHED.to_owned())], Some(lines.min(500))).await?;
    let records = jobs.iter().map(|job| JobRecord::from_json(client, job)).collect::<Result<Vec<_>, _>>()?;
    let number = |name: &str| info["jobs"][name].as_u64().unwrap_or(0);
    let of_queue = |queue: &serde_json::Value| queue["queued"].as_u64().unwrap_or(0);
    let queued: u64 = queues["queues"].as_array().into_iter().flatten().map(of_queue).sum();
    let head = format!(
        "capstan top - {}  running {}  waiting {}  started {}\n",
        now.strftime("%H:%M:%S"),
        number("running"),
        queued + number("queued"),
        number("total"),
    );
    Ok(format!("{head}\n{}\n{}", queue::table(&queues), ps::table(&records, now)))
}
