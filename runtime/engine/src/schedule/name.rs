//! [`check_name`]: the names of schedules.

use super::error::ScheduleError;

/// The length of the longest name of a schedule.
pub const MAX_SCHEDULE_NAME: usize = 255;

/// Checks that `name` has 1 to [`MAX_SCHEDULE_NAME`] lowercase letters, digits, `.`, `_` and `-`.
///
/// # Errors
/// [`ScheduleError::Name`] with the first characters of the name.
pub fn check_name(name: &str) -> Result<(), ScheduleError> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=MAX_SCHEDULE_NAME).contains(&name.len()) && name.bytes().all(is_allowed) {
        Ok(())
    } else {
        Err(ScheduleError::Name(name.chars().take(MAX_SCHEDULE_NAME).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_checked() {
        let longest = "x".repeat(MAX_SCHEDULE_NAME);
        for name in ["a", "nightly-report", "2.backups_of-db", "-", longest.as_str()] {
            check_name(name).unwrap();
        }
        for name in ["", "Nightly", "a b", "a/b", "ä", "a\n", &format!("{longest}x")] {
            check_name(name).expect_err(name);
        }
    }
}
