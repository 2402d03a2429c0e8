//! The time of day, for notes of the last use: files have it, and runs are days apart.

use std::time::SystemTime;

#[expect(clippy::disallowed_methods, reason = "ages from run to run; nothing waits by them")]
pub fn now() -> SystemTime {
    SystemTime::now()
}
