//! Waiting for something to come true, with a clear end.

use anyhow::{Context, Result, bail};
use image_builder::qemu::Interrupt;
use std::time::{Duration, Instant};

/// Asks `condition` every 100 ms until it gives a value.
///
/// # Errors
/// After `patience`, saying for what was waited and for how long; at once when `condition` fails or the person
/// interrupts.
pub fn wait_until<T>(
    what: &str,
    patience: Duration,
    interrupt: &Interrupt,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        interrupt.check()?;
        if let Some(value) = condition().with_context(|| format!("while waiting until {what}"))? {
            return Ok(value);
        }
        if began.elapsed() >= patience {
            bail!("waited {} s until {what}, in vain", patience.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_value_or_says_what_it_waited_for() {
        let (mut asked, never) = (0, Interrupt::default());
        let got = wait_until("it was asked thrice", Duration::from_secs(5), &never, || {
            asked += 1;
            Ok((asked == 3).then_some("yes"))
        });
        assert_eq!(got.unwrap(), "yes");
        let error = wait_until::<()>("pigs fly", Duration::ZERO, &never, || Ok(None)).unwrap_err().to_string();
        assert!(error.contains("until pigs fly, in vain"), "{error}");
    }
}
