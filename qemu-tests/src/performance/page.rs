//! Figures -> the page. Pure.

use super::figures::{
    BootRun, Boots, Builds, Figures, Host, Image, Provision, ProvisionRun, Run, Step, median, median_steps,
};
use super::picture::Bar;
use std::fmt::Write;

/// The whole page, as Markdown.
pub fn markdown(figures: &Figures) -> String {
    let mut page = String::from(
        "# Performance\n\n\
         Written by `make bench`, which measures everything here but the lines marked as references; the figures of \
         every\nsingle run lie in [performance.json](performance.json). One part again, with the figures of the other \
         kept:\n\n    make bench BENCH=\"--only boots --runs 5\"\n",
    );
    builds(&mut page, figures.builds.as_ref());
    comparison(&mut page, figures);
    image(&mut page, figures.image.as_ref());
    provision(&mut page, figures.provision.as_ref());
    boots(&mut page, figures.boots.as_ref());
    page
}

/// The bars of `boot.svg`; none before a boot was measured.
pub fn bars(figures: &Figures) -> Vec<Bar> {
    let Some(boots) = &figures.boots else { return Vec::new() };
    let bar = |label, runs: &[BootRun]| Bar {
        label,
        firmware: median(runs.iter().map(|r| r.firmware)),
        phases: timeline(runs),
    };
    vec![bar("first boot", &boots.first), bar("second boot", &boots.second)]
}

/// When each phase ended, at the median, in that order.
fn timeline(runs: &[BootRun]) -> Vec<Step> {
    let mut phases = median_steps(runs.iter().map(|r| r.phases.as_slice()));
    phases.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    phases
}

fn builds(page: &mut String, builds: Option<&Builds>) {
    page.push_str("\n## Builds\n\n");
    let Some(builds) = builds else { return page.push_str("Not measured yet.\n") };
    let _ = writeln!(
        page,
        "`bedplate build --offline` of `examples/node`, by the program that `make image` builds (optimised, with its \
         checks\non). {}, each in a new store; median, and the range. Processor seconds are those of \
         the builder and its\ntools together: what to rely on when others keep the host busy. Memory is the peak \
         resident set of the largest\nprocess. {}\n",
        count(builds.cold.len(), "round"),
        on(&builds.host)
    );
    page.push_str("| build | seconds | range | processor seconds | memory, MiB |\n|---|---:|---:|---:|---:|\n");
    let mut row = |name: &str, runs: &[Run]| {
        let seconds = || runs.iter().map(|r| r.seconds);
        let (least, most) = (seconds().fold(f64::INFINITY, f64::min), seconds().fold(0.0, f64::max));
        let peak = runs.iter().map(|r| r.peak_kib).max().unwrap_or_default();
        let processor = median(runs.iter().map(|r| r.processor));
        let _ = writeln!(
            page,
            "| {name} | {:.1} | {least:.1} - {most:.1} | {processor:.1} | {} |",
            median(seconds()),
            peak >> 10
        );
    };
    row("cold", &builds.cold);
    if !builds.clusters.is_empty() {
        row("inputs and compressed clusters alone: `build`", &builds.clusters);
    }
    if !builds.clusters_draft.is_empty() {
        row("inputs and compressed clusters alone: `build --draft`", &builds.clusters_draft);
    }
    row("warm", &builds.warm);
    row("one overlay file changed: `lock --local`", &builds.changed_lock);
    row("one overlay file changed: `build`", &builds.changed);
    if !builds.changed_draft.is_empty() {
        row("one overlay file changed: `build --draft`", &builds.changed_draft);
    }
    let _ = writeln!(
        page,
        "\nA build makes a release: every artifact, hashed and signed as a whole. A draft is the signed disk and the lists, \
         which\nis what is tried next.\n\n- *Cold*: the store holds the fetched packages and modules' programs (`blob/`, `output/component/`) and nothing \
         else. The\n  tools tree is unpacked, packages are opened, the root is composed, compressed and hashed, the initrd \
         and the UKI are\n  made, signed and written. Compiling Kubernetes and fetching are not in it. Files may be in the host's \
         page cache.\n- *Inputs and compressed clusters alone*: of what \
         stages make, only unpacked tools, components and the clusters of contents\n  that were compressed before are there. The root \
         is composed and laid out anew, and copied.\n- *Warm*: the same build again; every stage is in the store, the release is written anew.\n\
         - *One overlay file changed*: a line was added to `{}`; the lock takes it in,\n  and the root is composed, \
         sealed into a new UKI, and written.\n",
        builds.changed_file
    );
    page.push_str("Where the time goes, as the builder tells it (median seconds of each step):\n\n");
    page.push_str("| step | cold | clusters alone | warm | changed |\n|---|---:|---:|---:|---:|\n");
    let of = |runs: &[Run]| median_steps(runs.iter().map(|r| r.steps.as_slice()));
    let columns = [of(&builds.cold), of(&builds.clusters), of(&builds.warm), of(&builds.changed)];
    for step in &columns[0] {
        let cell = |column: &[Step]| {
            let found = column.iter().find(|s| s.name == step.name);
            found.map_or_else(|| "-".into(), |s| format!("{:.1}", s.seconds))
        };
        let [cold, clusters, warm, changed] = [0, 1, 2, 3].map(|i| cell(&columns[i]));
        let _ = writeln!(page, "| {} | {cold} | {clusters} | {warm} | {changed} |", step.name);
    }
    floor(page, builds);
}

/// What is left above reading and writing.
fn floor(page: &mut String, builds: &Builds) {
    let Some(floor) = &builds.floor else { return };
    let (read, written) = (median(floor.read.iter().copied()), median(floor.written.iter().copied()));
    let mib = |bytes: u64| bytes >> 20;
    let median = |runs: &[Run], of: fn(&Run) -> f64| median(runs.iter().map(of));
    let drafts = &builds.clusters_draft;
    let _ = writeln!(
        page,
        "\n*The floor*: reading the {} MiB of packages once took {read:.1} s, writing the {} MiB of a disk image once \
         {written:.1} s,\ntogether {:.1} s. The {:.1} s of a draft with inputs and clusters alone have {:.1} processor seconds \
         in them; most of\nthose are xz: Debian packs its packages with it, and each kernel module in them once more. A changed \
         file's draft\nunpacks nothing and takes {:.1} s.",
        mib(floor.inputs),
        mib(floor.outputs),
        read + written,
        median(drafts, |r| r.seconds),
        median(drafts, |r| r.processor),
        median(&builds.changed_draft, |r| r.seconds),
    );
}

/// Bedplate and mkosi side by side, held against what was set as the goal.
fn comparison(page: &mut String, figures: &Figures) {
    page.push_str("\n## Beside mkosi\n\n");
    let (Some(builds), Some(mkosi)) = (&figures.builds, &figures.mkosi) else {
        return page.push_str("Not measured yet.\n");
    };
    let _ = writeln!(
        page,
        "mkosi {}, with the same packages, components, overlays and left-out paths, to a disk with an EROFS root (same codec, \
         level and\ncluster size), its hash tree and a UKI signed with the same key. It is spared the initrd, of which it is given \
         Bedplate's.\nIt sums nothing, so what it makes is held against a draft; a release is beside it. Median of {}; packages are \
         fetched and\nits tools unpacked before. {}\n",
        mkosi.version,
        count(mkosi.cold.len(), "round"),
        on(&mkosi.host)
    );
    page.push_str("| build | Bedplate, s | mkosi, s | ratio | goal |\n|---|---:|---:|---:|---|\n");
    let seconds = |runs: &[Run]| median(runs.iter().map(|r| r.seconds));
    let mut row = |name: &str, own: &[Run], other: &[Run], goal: &str| {
        let (own, other) = (seconds(own), seconds(other));
        if own > 0.0 && other > 0.0 {
            let _ = writeln!(page, "| {name} | {own:.1} | {other:.1} | 1/{:.1} | {goal} |", other / own);
        }
    };
    row("cold, packages fetched, to a release", &builds.cold, &mkosi.cold, "no slower");
    row(
        "warm: inputs and compressed clusters alone, to a signed disk",
        &builds.clusters_draft,
        &mkosi.warm,
        "1/10, better 1/20",
    );
    row("the same to a release", &builds.clusters, &mkosi.warm, "");
    row("one overlay file changed, to a signed disk", &builds.changed_draft, &mkosi.changed, "1/10, better 1 s");
    row("the same to a release", &builds.changed, &mkosi.changed, "");
    if let Some(image) = &figures.image {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(
            page,
            "\nThe root has {:.1} MiB, mkosi's {:.1} MiB. Most memory that one process of the builder took: {} MiB, of \
             mkosi's: {} MiB.",
            mib(image.root),
            mib(mkosi.root),
            peak(&[&builds.cold, &builds.clusters, &builds.changed]) >> 10,
            peak(&[&mkosi.cold, &mkosi.warm, &mkosi.changed]) >> 10
        );
    }
}

/// The most of several measurements, in KiB.
fn peak(measured: &[&[Run]]) -> u64 {
    measured.iter().flat_map(|runs| runs.iter().map(|r| r.peak_kib)).max().unwrap_or_default()
}

fn image(page: &mut String, image: Option<&Image>) {
    page.push_str("\n## Image\n\n");
    let Some(image) = image else { return page.push_str("Not measured yet.\n") };
    let versions: Vec<String> = image.components.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = writeln!(
        page,
        "{}: {} files, folders and links; Linux {}; {}.\n",
        image.name,
        image.entries,
        image.kernel_release,
        versions.join(", ")
    );
    page.push_str("| part | MiB |\n|---|---:|\n");
    let rows = [
        ("content of all files in the root", image.content),
        ("root, EROFS", image.root),
        ("verity hash tree", image.verity),
        ("UKI, signed", image.uki),
        ("- kernel in it", image.kernel),
        ("- initrd in it", image.initrd),
        ("`disk.raw`, what takes room", image.disk_allocated),
        ("`disk.raw`, as it appears: ESP and both slots", image.disk),
    ];
    for (name, size) in rows {
        let _ = writeln!(page, "| {name} | {:.1} |", size as f64 / f64::from(1 << 20));
    }
}

fn provision(page: &mut String, provision: Option<&Provision>) {
    page.push_str("\n## Provisioning\n\n");
    let Some(provision) = provision else { return page.push_str("Not measured yet.\n") };
    let _ = writeln!(
        page,
        "The agent's storage unit in a guest of two processors, in software, with {} small disks: six become a RAID 6, each \
         other\none gets a file system, the system disk the state partition: {} volumes. Median of {}. The critical path is the \
         slowest\ndisk to be locked and looked at again, and the longest chain of steps after that; each takes as long as it does \
         beside all\nothers on two processors. A script's part is what those\ncost that look at nothing: mdadm, mkfs and mount, one after the other, on whole disks.\nIgnition {} makes the \
         same and wipes what it finds; it makes no state partition, and what it made is\nmounted by hand. {}\n",
        provision.disks,
        provision.volumes,
        count(provision.first.len(), "guest"),
        provision.ignition_version,
        on(&provision.host)
    );
    page.push_str("| | looking and planning, s | steps, s | their critical path, s | ratio | goal |\n|---|---:|---:|---:|---:|---|\n");
    let mut row = |name: &str, runs: &[ProvisionRun], goal: &str| {
        let middle = |of: fn(&ProvisionRun) -> f64| median(runs.iter().map(of));
        let ratio = median(runs.iter().map(|run| run.steps / run.critical_path.max(0.01)));
        let [look, steps, path] = [middle(|r| r.look), middle(|r| r.steps), middle(|r| r.critical_path)];
        let _ = writeln!(page, "| {name} | {look:.1} | {steps:.1} | {path:.1} | {ratio:.2} | {goal} |");
    };
    row("blank disks", &provision.first, "1.1");
    row("the same disks at the next boot", &provision.second, "");
    let script = median(provision.script.iter().copied());
    let _ = writeln!(page, "| blank disks, by a script | - | {script:.1} | - | - | |");
    let ignition = median(provision.ignition.iter().copied());
    let _ = writeln!(page, "| blank disks, by Ignition | - | {ignition:.1} | - | - | |");
}

fn boots(page: &mut String, boots: Option<&Boots>) {
    page.push_str("\n## Boot to Ready\n\n");
    let Some(boots) = boots else { return page.push_str("Not measured yet.\n") };
    let _ = writeln!(
        page,
        "The release under Secure Boot in QEMU {} ({}), a guest of {} processors and {} MiB with two data disks, joining \
         etcd and\nKubernetes' control plane on the same host. Median of {}: the first boot makes state partition, \
         RAID1 and XFS on\nblank disks, the second finds and keeps them. Phases overlap: each line is the time by which the \
         boot was longer for it.\n{}\n",
        boots.qemu,
        accelerator(&boots.accelerator),
        boots.guest_processors,
        boots.guest_memory_mib,
        count(boots.first.len(), "machine"),
        on(&boots.host)
    );
    page.push_str("![Phases of the first and the second boot](boot.svg)\n\n");
    page.push_str(
        "| phase | first boot: seconds | done at | second boot: seconds | done at |\n|---|---:|---:|---:|---:|\n",
    );
    let (first, second) = (timeline(&boots.first), timeline(&boots.second));
    let (took, took_again) = (durations(&first), durations(&second));
    for (step, seconds) in first.iter().zip(&took) {
        let again = second.iter().zip(&took_again).find(|(s, _)| s.name == step.name);
        let again = again.map_or_else(|| "- | -".into(), |(s, took)| format!("{took:.1} | {:.1}", s.seconds));
        let _ = writeln!(page, "| {} | {seconds:.1} | {:.1} | {again} |", step.name, step.seconds);
    }
    let end = |phases: &[Step]| phases.last().map_or(0.0, |p| p.seconds);
    let middle = |runs: &[BootRun], of: fn(&BootRun) -> f64| median(runs.iter().map(of));
    let _ = writeln!(page, "| **kernel's start to Ready** | **{:.1}** | | **{:.1}** | |", end(&first), end(&second));
    let mut row = |name: &str, of: fn(&BootRun) -> f64| {
        let _ = writeln!(page, "| {name} | {:.1} | | {:.1} | |", middle(&boots.first, of), middle(&boots.second, of));
    };
    row("firmware, before the kernel", |r| r.firmware);
    row("power-on to Ready, as the cluster says", |r| r.ready);
    page.push_str(
        "\nReference, tried by hand on a machine of this kind and not by this command: 26 s from the kernel's start to Ready \
         with\nplain Debian, without verity and without RAID; some 13 s as the floor of kernel, containerd and kubelet \
         alone.\n",
    );
    page.push_str("\n## The agent's memory\n\n");
    let names: std::collections::BTreeSet<&String> = boots.first.iter().flat_map(|r| r.pss_kib.keys()).collect();
    if names.is_empty() {
        return page.push_str("The image that was measured does not tell it.\n");
    }
    page.push_str(
        "Proportional set size of the agent's processes when the node is Ready, in MiB, median of the first boots; the \
         node\nreads it from `smaps_rollup` and tells it in its status.\n\n\
         | process | MiB |\n|---|---:|\n",
    );
    let mib = |kib: f64| kib / 1024.0;
    for name in &names {
        let of = |r: &BootRun| r.pss_kib.get(*name).copied().unwrap_or_default() as f64;
        let _ = writeln!(page, "| {name} | {:.1} |", mib(median(boots.first.iter().map(of))));
    }
    let all = median(boots.first.iter().map(|r| r.pss_kib.values().sum::<u64>() as f64));
    let _ = writeln!(page, "| **all** | **{:.1}** |", mib(all));
}

/// How much later each phase ended than the one before it.
fn durations(phases: &[Step]) -> Vec<f64> {
    let before = std::iter::once(0.0).chain(phases.iter().map(|p| p.seconds));
    phases.iter().zip(before).map(|(phase, before)| phase.seconds - before).collect()
}

fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

fn accelerator(name: &str) -> &str {
    match name {
        "TCG" => "TCG: every instruction in software",
        other => other,
    }
}

fn on(host: &Host) -> String {
    format!(
        "Host: {} processors ({}), {:.0} GiB; load {:.1} before.",
        host.processors,
        host.processor,
        host.memory_mib as f64 / 1024.0,
        host.load
    )
}

#[cfg(test)]
mod tests {
    use super::super::figures::Mkosi;
    use super::*;
    use std::collections::BTreeMap;

    fn steps(list: &[(&str, f64)]) -> Vec<Step> {
        list.iter().map(|(name, seconds)| Step { name: (*name).into(), seconds: *seconds }).collect()
    }

    fn boot(firmware: f64, phases: &[(&str, f64)], ready: f64, join: u64) -> BootRun {
        BootRun { firmware, phases: steps(phases), ready, pss_kib: BTreeMap::from([("join".to_owned(), join)]) }
    }

    fn figures() -> Figures {
        let run = |seconds, steps| Run { seconds, processor: 30.0, peak_kib: 200 << 10, steps };
        let seal = |seconds| steps(&[("sealing the root", seconds)]);
        Figures {
            builds: Some(Builds {
                cold: vec![run(20.0, seal(15.0)), run(24.0, seal(18.0)), run(90.0, seal(80.0))],
                warm: vec![run(4.5, Vec::new())],
                changed: vec![run(17.0, seal(12.0))],
                changed_lock: vec![run(0.5, Vec::new())],
                changed_draft: vec![run(1.5, seal(1.0))],
                ..Builds::default()
            }),
            mkosi: Some(Mkosi {
                cold: vec![run(48.0, Vec::new())],
                changed: vec![run(17.0, Vec::new())],
                root: 257 << 20,
                ..Mkosi::default()
            }),
            image: Some(Image { root: 256 << 20, ..Image::default() }),
            provision: Some(Provision {
                first: vec![
                    ProvisionRun { look: 1.0, steps: 6.0, critical_path: 5.0 },
                    ProvisionRun { look: 1.2, steps: 5.5, critical_path: 5.0 },
                    ProvisionRun { look: 1.4, steps: 5.0, critical_path: 5.0 },
                ],
                script: vec![20.0],
                ignition: vec![24.0],
                ..Provision::default()
            }),
            boots: Some(Boots {
                first: vec![
                    boot(9.0, &[("kernel", 2.0), ("kubelet", 12.0), ("network", 10.0), ("ready", 20.0)], 29.0, 4096),
                    boot(9.5, &[("kernel", 2.2), ("network", 9.0), ("kubelet", 14.0), ("ready", 22.0)], 31.0, 4096),
                    boot(8.0, &[("kernel", 1.8), ("network", 11.0), ("kubelet", 13.0), ("ready", 21.0)], 30.0, 8192),
                ],
                second: vec![boot(9.0, &[("kernel", 2.0), ("ready", 16.0)], 25.0, 4096)],
                ..Boots::default()
            }),
        }
    }

    #[test]
    fn tables_show_medians() {
        let page = markdown(&figures());
        for line in [
            "| cold | 24.0 | 20.0 - 90.0 | 30.0 | 200 |",
            "| one overlay file changed: `build --draft` | 1.5 | 1.5 - 1.5 | 30.0 | 200 |",
            "| sealing the root | 18.0 | - | - | 12.0 |",
            "| cold, packages fetched, to a release | 24.0 | 48.0 | 1/2.0 | no slower |",
            "| the same to a release | 17.0 | 17.0 | 1/1.0 |  |",
            "| root, EROFS | 256.0 |",
            "| blank disks | 1.2 | 5.5 | 5.0 | 1.10 | 1.1 |",
            "| blank disks, by a script | - | 20.0 | - | - | |",
            "| blank disks, by Ignition | - | 24.0 | - | - | |",
            "| kernel | 2.0 | 2.0 | 2.0 | 2.0 |",
            "| network | 8.0 | 10.0 | - | - |",
            "| kubelet | 3.0 | 13.0 | - | - |",
            "| ready | 8.0 | 21.0 | 14.0 | 16.0 |",
            "| **kernel's start to Ready** | **21.0** | | **16.0** | |",
            "| firmware, before the kernel | 9.0 | | 9.0 | |",
            "| join | 4.0 |",
        ] {
            assert!(page.lines().any(|l| l == line), "no {line:?} in\n{page}");
        }
    }

    #[test]
    fn a_part_that_was_not_measured_is_said_to_be_missing() {
        let page = markdown(&Figures { boots: None, ..figures() });
        assert_eq!(page.matches("Not measured yet.").count(), 1);
        assert!(bars(&Figures::default()).is_empty());
    }

    #[test]
    fn the_bars_follow_the_order_of_the_medians() {
        let bars = bars(&figures());
        let names: Vec<&str> = bars[0].phases.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["kernel", "network", "kubelet", "ready"]);
        assert_eq!((bars[0].firmware, bars[1].phases[1].seconds), (9.0, 16.0));
    }

    #[test]
    fn the_page_in_the_repository_is_made_of_the_figures_beside_it() {
        let docs = crate::bench::repository().join("docs");
        let figures = Figures::read(&docs.join("performance.json")).unwrap();
        let text = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
        assert_eq!(text("performance.md"), markdown(&figures), "`make bench BENCH='--only page'` renders it anew");
        assert_eq!(text("boot.svg"), super::super::picture::svg(&bars(&figures)));
    }
}
