//! What people see: functions of what was judged.

pub mod crash;
pub mod progress;
pub mod standings;
pub mod terminal;
