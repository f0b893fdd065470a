//! [`Acknowledged`]: what the process said was done.

use std::collections::BTreeMap;
use std::fmt;

/// What the process said was done, over all cycles. Jobs are named by the text of their ids.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// The key of each job.
    pub(crate) keys: BTreeMap<String, String>,
    /// The attempts that were claimed: how much output each has, and the exit code and state with which it was finished.
    pub(crate) attempts: BTreeMap<(String, u32), Attempt>,
    /// The times for which the schedule fired, with the job of each.
    pub(crate) firings: BTreeMap<String, String>,
    /// Changes that a full disk or a failing one refused.
    pub(crate) refused: u64,
    /// Jobs that were submitted in a cycle after the disk was full.
    pub(crate) after_refusal: u64,
    has_refused: bool,
    /// The outcomes that the store had recorded at the last check.
    pub(crate) recorded: BTreeMap<(String, u32), String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    pub(crate) output: u64,
    pub(crate) end: Option<(u8, String)>,
}

impl Acknowledged {
    /// Adds what was acknowledged in another directory.
    pub(crate) fn add(&mut self, other: Self) {
        // A schedule of another directory fires at the same times.
        let directory = self.firings.len();
        self.firings.extend(other.firings.into_iter().map(|(due, job)| (format!("{due} {directory}"), job)));
        self.keys.extend(other.keys);
        self.attempts.extend(other.attempts);
        self.refused += other.refused;
        self.after_refusal += other.after_refusal;
    }

    /// Begins a cycle.
    pub(crate) fn begin_cycle(&mut self) {
        self.has_refused = false;
    }

    /// Reads a line of the process.
    pub(crate) fn read(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let attempt = |text: &str| text.parse::<u32>().unwrap();
        match words[..] {
            ["submitted", job, key] => {
                let known = self.keys.insert(job.to_owned(), key.to_owned());
                assert!(known.is_none_or(|known| known == key), "job {job} has two keys");
                self.after_refusal += u64::from(self.has_refused);
            }
            ["claimed", job, number] => {
                let known = self.attempts.insert((job.to_owned(), attempt(number)), Attempt::default());
                assert!(known.is_none(), "attempt {number} of job {job} was claimed twice");
            }
            ["printed", job, number, end] => {
                let known = self.attempts.get_mut(&(job.to_owned(), attempt(number))).expect("it was claimed");
                known.output = end.parse().unwrap();
            }
            ["finished", job, number, code, state] => {
                let known = self.attempts.get_mut(&(job.to_owned(), attempt(number))).expect("it was claimed");
                assert!(known.end.is_none(), "attempt {number} of job {job} was finished twice");
                known.end = Some((code.parse().unwrap(), state.to_owned()));
            }
            ["fired", due, job] => {
                let known = self.firings.insert(due.to_owned(), job.to_owned());
                assert!(known.is_none(), "the schedule fired twice for {due}");
            }
            ["refused", "full"] => {
                self.refused += 1;
                self.has_refused = true;
            }
            ["refused", ..] => self.refused += 1,
            // What the test harness prints.
            _ => {}
        }
    }

    pub(crate) fn jobs(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn outcomes(&self) -> usize {
        self.attempts.values().filter(|attempt| attempt.end.is_some()).count()
    }
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (jobs, outcomes, firings, refused) = (self.jobs(), self.outcomes(), self.firings.len(), self.refused);
        let output: u64 = self.attempts.values().map(|attempt| attempt.output).sum();
        write!(
            formatter,
            "{jobs} jobs, {} claims, {outcomes} outcomes, {output} bytes of output and {firings} firings acknowledged, \
             {refused} changes refused",
            self.attempts.len()
        )
    }
}
