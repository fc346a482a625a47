//! How far something long is, how fast it goes and how long it still takes, in words for the consoles. Pure.

use std::time::Duration;
use storage_plan::inventory::size_words;

/// What ends within this time is not spoken of.
const FIRST: Duration = Duration::from_secs(10);
/// In the end it is spoken of so often.
const SELDOM: Duration = Duration::from_secs(600);

/// How long something has been going on when it is spoken of again, if it was last spoken of after `told`: 10 s, 20 s, 40 s and
/// so on, and every ten minutes in the end.
#[must_use]
pub fn next(told: Duration) -> Duration {
    told + told.clamp(FIRST, SELDOM)
}

/// Bytes done and of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// Done.
    pub done: u64,
    /// Of all.
    pub all: u64,
}

/// How fast it goes, and what that comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second.
    pub speed: u64,
    /// Seconds that the rest takes at this speed; none while it stands still.
    pub left: Option<u64>,
}

/// The pace of what has come from `before` to `now` within `took`. None if that can't be told: no time has gone by, or it was
/// begun again meanwhile.
#[must_use]
pub fn pace(before: u64, now: Amount, took: Duration) -> Option<Pace> {
    let went = now.done.checked_sub(before)?;
    let speed = (u128::from(went) * 1000).checked_div(took.as_millis())?;
    let (speed, rest) = (u64::try_from(speed).ok()?, now.all.saturating_sub(now.done));
    Some(Pace { speed, left: (speed > 0).then(|| rest.div_ceil(speed)) })
}

/// `1.2 TB of 12.0 TB, 210.0 MB/s, about 15 h left`.
#[must_use]
pub fn words(now: Amount, pace: Option<Pace>) -> String {
    let far = format!("{} of {}", size_words(now.done), size_words(now.all));
    match pace {
        None => far,
        Some(Pace { left: None, .. }) => format!("{far}, at a standstill"),
        Some(Pace { speed, left: Some(left) }) => {
            format!("{far}, {}/s, about {} left", size_words(speed), time_words(left))
        }
    }
}

/// A time in the unit that a person would take, rounded up.
#[must_use]
pub fn time_words(seconds: u64) -> String {
    match seconds {
        0..=90 => format!("{} s", seconds.max(1).next_multiple_of(10)),
        91..=5400 => format!("{} min", seconds.div_ceil(60)),
        5401..=172_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} days", seconds.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TB: u64 = 1_000_000_000_000;

    #[test]
    fn what_lasts_is_spoken_of_seldom_and_what_ends_soon_not_at_all() {
        let mut told = vec![Duration::ZERO];
        while told.len() < 12 {
            told.push(next(*told.last().unwrap()));
        }
        let seconds: Vec<u64> = told[1..].iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 640, 1240, 1840, 2440, 3040]);
    }

    #[test]
    fn speed_and_time_left_follow_from_what_was_done() {
        let (at, minute) = (|done| Amount { done, all: 12 * TB }, Duration::from_secs(60));
        let told = |before, done| words(at(done), pace(before, at(done), minute));
        assert_eq!(told(0, 12_000_000_000), "12.0 GB of 12.0 TB, 200.0 MB/s, about 17 h left");
        assert_eq!(told(6 * TB, 6 * TB + 600_000_000), "6.0 TB of 12.0 TB, 10.0 MB/s, about 7 days left");
        assert_eq!(told(0, 12 * TB), "12.0 TB of 12.0 TB, 200.0 GB/s, about 10 s left");
        assert_eq!(told(TB, TB), "1.0 TB of 12.0 TB, at a standstill");
        assert_eq!(told(TB, 0), "0.0 kB of 12.0 TB", "it was begun again");
        assert_eq!(pace(0, at(TB), Duration::ZERO), None);
        let times = [0, 1, 11, 90, 91, 5400, 5401, 172_800, 172_801].map(time_words);
        assert_eq!(times, ["10 s", "10 s", "20 s", "90 s", "2 min", "90 min", "2 h", "48 h", "3 days"]);
    }

    #[test]
    fn no_numbers_make_it_panic() {
        let numbers = [0, 1, 999, TB, u64::MAX - 1, u64::MAX];
        for (before, done, all) in numbers.iter().flat_map(|b| numbers.map(|d| numbers.map(|a| (*b, d, a)))).flatten() {
            for took in [0, 1, 1000, u64::MAX] {
                let now = Amount { done, all };
                assert!(words(now, pace(before, now, Duration::from_millis(took))).contains(" of "));
            }
        }
    }
}
