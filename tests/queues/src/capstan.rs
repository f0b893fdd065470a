//! Durable jobs of a Capstan daemon.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Options;
use crate::server::{Error, Server};
use crate::workload::{Queue, Submit, System};

/// A program that does nothing.
const GUEST: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

pub struct Capstan;

struct Daemon {
    url: String,
    _server: Server,
    _directory: TempDir,
}

struct Client {
    agent: ureq::Agent,
    url: String,
}

impl System for Capstan {
    fn name(&self) -> String {
        "capstan, a sandbox for each job".to_owned()
    }

    fn start(&self, options: &Options) -> Result<Box<dyn Queue>, Error> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("capstan.toml");
        fs::write(&config, format!("[limits]\nruns = {}\n", options.workers))?;
        let mut command = Command::new(&options.capstan);
        command.args(["daemon", "-H", "tcp://127.0.0.1:0", "--config"]).arg(&config);
        command.arg("--data").arg(directory.path().join("data"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(directory.path().join("log"))?);
        let mut server = Server(command.spawn()?);
        let mut url = None;
        let stdout = server.0.stdout.take().ok_or("stdout is a pipe")?;
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            match line.strip_prefix("listening on tcp://") {
                Some(address) => url = Some(format!("http://{address}/v1")),
                None if line == "ready" => break,
                None => {}
            }
        }
        let url = url.ok_or_else(|| fs::read_to_string(directory.path().join("log")).unwrap_or_default())?;
        let program = wat::parse_str(GUEST)?;
        agent().put(format!("{url}/handlers/noop")).send(&program[..])?;
        // The first run loads the program.
        agent().post(format!("{url}/handlers/noop/run")).send_empty()?;
        Ok(Box::new(Daemon { url, _server: server, _directory: directory }))
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::new_with_defaults()
}

impl Queue for Daemon {
    fn connect(&self) -> Result<Box<dyn Submit>, Error> {
        let agent = agent();
        agent.get(format!("{}/_ping", self.url)).call()?.body_mut().read_to_string()?;
        Ok(Box::new(Client { agent, url: format!("{}/jobs", self.url) }))
    }

    fn ended(&self, submitted: usize) -> Result<usize, Error> {
        // A queue is listed as long as it has jobs that have not ended.
        let text = agent().get(format!("{}/queues", self.url)).call()?.body_mut().read_to_string()?;
        let queues: serde_json::Value = serde_json::from_str(&text)?;
        let depth = queues["queues"][0]["depth"].as_u64().unwrap_or(0);
        Ok(submitted - usize::try_from(depth)?)
    }
}

impl Submit for Client {
    fn submit(&mut self) -> Result<(), Error> {
        let mut response = self.agent.post(&self.url).send(r#"{"handler":"noop"}"#)?;
        let answer = response.body_mut().read_to_string()?;
        if answer.contains("\"durable\":true") { Ok(()) } else { Err(answer.into()) }
    }
}
