//! Broken configurations, each on a USB stick, one after the other in one boot; then a good one.

use crate::{Check, Tier};
use anyhow::{Context, Result, ensure};
use qemu_tests::broken_configs;
use qemu_tests::machine::{BOOT, Machine};
use qemu_tests::site;
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] =
    &[("ten broken configurations each end in a page, and a good one goes on", broken)];

const PATIENCE: Duration = Duration::from_secs(60);

fn broken(tier: &Tier) -> Result<()> {
    let bench = tier.bench()?;
    let mut machine = Machine::new(bench, "configs")?;
    machine.lab.serial = Some("BEDPLATE-N1".into());
    machine.usb = true;
    machine.power_on()?;
    let page = machine.wait_for_page("WAITING", BOOT)?;
    ensure!(page.contains("BP-B020"), "without a configuration it shows:\n{page}");
    let good = site::one_node("https://10.0.2.2:6443")?;
    for (index, broken) in broken_configs::ten(&good, |text| bench.sign(text))?.into_iter().enumerate() {
        let stick = format!("stick{index}");
        machine.plug_stick(&stick, &broken.text)?;
        let page = machine.wait_for_page_with(broken.code, PATIENCE).context(broken.what)?;
        ensure!(page.contains("STOPPED"), "a configuration that is {} does not stop it:\n{page}", broken.what);
        machine.pull_stick(&stick)?;
        machine.wait_for_page_with("BP-B020", PATIENCE).with_context(|| format!("after {stick} was pulled"))?;
    }
    // The disks it names are not there: a good configuration comes as far as storage.
    machine.plug_stick("good", &bench.sign(&good)?)?;
    machine.wait_for_page_with("at storage", PATIENCE)?;
    ensure!(machine.log().kernels() == 1, "the machine went round:\n{}", machine.log().tail(20));
    Ok(())
}
