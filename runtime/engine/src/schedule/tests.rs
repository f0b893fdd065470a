mod catch_up;
mod cron;
mod daylight_saving;
mod definition;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Schedule, ScheduleDefinition, ScheduleError};

/// Returns the schedule of the fields `json`, with a job if there is none.
fn schedule(mut json: Value) -> Result<Schedule, ScheduleError> {
    let fields = json.as_object_mut().unwrap();
    fields.entry("job").or_insert_with(|| json!({"handler": "report"}));
    Schedule::new(ScheduleDefinition::from_json(&json)?)
}

fn cron(pattern: &str, zone: &str) -> Schedule {
    schedule(json!({"cron": pattern, "time_zone": zone})).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn texts(times: &[Timestamp]) -> Vec<String> {
    times.iter().map(ToString::to_string).collect()
}
