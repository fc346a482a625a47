//! How long a program may take.

use std::time::Duration;

/// None of them waits for a sync or writes more than metadata. One that takes longer waits for a disk that does not answer.
const LIMIT: Duration = Duration::from_secs(600);
/// Another limit, in seconds.
const LIMIT_VARIABLE: &str = "BEDPLATE_TOOL_LIMIT";

/// How long a program that makes, reads or changes arrays, groups or file systems may take.
pub(crate) fn tool_limit() -> Duration {
    let told = std::env::var(LIMIT_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    told.map_or(LIMIT, Duration::from_secs)
}
