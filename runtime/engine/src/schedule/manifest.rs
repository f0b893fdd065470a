//! Schedules in the manifest of a handler.

use std::collections::{BTreeMap, BTreeSet};

use capstan_core::manifest::{Manifest, ManifestError, ManifestSchedule};

use super::definition::{Schedule, ScheduleDefinition};
use super::error::ScheduleError;
use super::job::ScheduledJob;
use super::name::check_name;
use crate::handler::HandlerName;

/// The schedules of a manifest by name.
pub type ManifestSchedules = BTreeMap<String, ScheduleDefinition>;

/// Parses a manifest, and checks its schedules.
///
/// # Errors
/// [`ManifestError`] with the line, and what is wrong there.
pub fn parse_manifest(text: &str) -> Result<Manifest, ManifestError> {
    let manifest = Manifest::parse(text)?;
    // Any name will do: the schedules of a manifest do not depend on it.
    let handler = HandlerName::new("handler").expect("it is a name");
    let mut names = BTreeSet::new();
    for (index, schedule) in manifest.schedule.iter().enumerate() {
        let checked = match &schedule.name {
            Some(name) => check_name(name),
            None => Ok(()),
        };
        let checked = checked.and_then(|()| Schedule::new(definition(&handler, schedule)).map(drop));
        let checked = checked.and_then(|()| match names.insert(&schedule.name) {
            true => Ok(()),
            false => Err(ScheduleError::Repeated(schedule.name.clone())),
        });
        checked.map_err(|error| {
            let names: &[&str] = match error.field() {
                Some("time_zone") => &["time_zone", "timezone"],
                Some(field) => &[field],
                None => &[],
            };
            ManifestError::of_schedule(text, index, names, &format!("in [[schedule]]: {error}"))
        })?;
    }
    Ok(manifest)
}

/// Returns the schedules in the manifest of `handler`.
///
/// # Errors
/// [`ScheduleError::Name`] if a schedule gets the name of the handler, and schedules cannot have it; [`ScheduleError::Repeated`].
pub fn manifest_schedules(
    handler: &HandlerName,
    schedules: &[ManifestSchedule],
) -> Result<ManifestSchedules, ScheduleError> {
    let mut found = ManifestSchedules::new();
    for schedule in schedules {
        let name = schedule.name.as_deref().unwrap_or(handler.as_str());
        check_name(name)?;
        if found.insert(name.to_owned(), definition(handler, schedule)).is_some() {
            return Err(ScheduleError::Repeated(Some(name.to_owned())));
        }
    }
    Ok(found)
}

fn definition(handler: &HandlerName, schedule: &ManifestSchedule) -> ScheduleDefinition {
    let schedule = schedule.clone();
    ScheduleDefinition {
        cron: schedule.cron,
        every: schedule.every,
        at: schedule.at,
        time_zone: schedule.time_zone,
        overlap: schedule.overlap,
        catch_up: schedule.catch_up,
        jitter: schedule.jitter,
        job: ScheduledJob {
            handler: handler.clone(),
            args: schedule.args,
            env: schedule.env,
            stdin: schedule.stdin,
            stdin_base64: schedule.stdin_base64,
            policy: schedule.policy,
            retry: schedule.retry,
            priority: schedule.priority,
            labels: schedule.labels,
            concurrency_key: schedule.concurrency_key,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_schedule_is_an_error_of_its_line() {
        for (text, line, part) in [
            ("[[schedule]]\nname = \"a\"\ncron = \"0 0 31 2 *\"", 3, "never fires"),
            ("[[schedule]]\nargs = [\"a\"]", 1, "no times"),
            ("[[schedule]]\ncron = \"@daily\"\nevery = \"1h\"", 3, "both cron and every"),
            ("[[schedule]]\ncron = \"@daily\"\ntimezone = \"Mars\"", 3, "Mars"),
            ("[[schedule]]\ncron = \"@daily\"\n\njitter = \"48h\"", 4, "jitter"),
            ("[[schedule]]\ncron = \"@daily\"\nname = \"A b\"", 3, "not a name of a schedule"),
            ("[[schedule]]\ncron = \"@daily\"\n[schedule.labels]\n\"a b\" = \"c\"", 3, "is no name"),
            ("[[schedule]]\ncron = \"@daily\"\nlabels = {\"capstan.x\" = \"c\"}", 3, "reserved"),
            ("[[schedule]]\ncron = \"@daily\"\nargs = [\"\\u0000\"]", 3, "NUL"),
            ("[[schedule]]\ncron = \"@daily\"\nconcurrency_key = \"\"", 3, "concurrency_key"),
            ("[[schedule]]\ncron = \"@daily\"\nretry = {attempts = 0}", 3, "attempts"),
            ("[[schedule]]\ncron = \"@daily\"\n[[schedule]]\ncron = \"@hourly\"", 3, "without a name"),
            ("[[schedule]]\nname=\"a\"\ncron = \"@daily\"\n[[schedule]]\nname=\"a\"\ncron = \"@hourly\"", 5, "\"a\""),
        ] {
            let error = parse_manifest(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("line {line}: ")) && error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn schedule_without_a_name_has_that_of_the_handler() {
        let manifest =
            parse_manifest("[[schedule]]\ncron = \"@daily\"\n[[schedule]]\nname = \"a\"\nevery = 60").unwrap();
        let names = |handler: &str| {
            let schedules = manifest_schedules(&HandlerName::new(handler).unwrap(), &manifest.schedule)?;
            Ok(schedules.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(names("report"), Ok(vec!["a".to_owned(), "report".to_owned()]));
        assert_eq!(names("a"), Err(ScheduleError::Repeated(Some("a".to_owned()))));
        assert!(matches!(names("Report"), Err(ScheduleError::Name(_))));
    }
}
