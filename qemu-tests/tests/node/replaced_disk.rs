//! A disk of a node that is Ready is pulled, and a blank one is put in its place: what the watch says of it, and what it takes.

use crate::Check;
use crate::lifecycle::evidence;
use anyhow::{Context, Result, ensure};
use qemu_tests::control_plane::ControlPlane;
use qemu_tests::machine::Machine;
use qemu_tests::site;
use serde_json::Value;
use std::time::Duration;

pub const CHECKS: &[(&str, Check)] = &[
    ("a pulled disk and the blank one in its place are told of on the console, in order", |t| {
        told(&evidence(t)?.replaced)
    }),
    ("the status goes from degraded over rebuilding to redundant", |t| states(&evidence(t)?.replaced)),
    ("the watch takes less than 15 MiB", |t| memory(&evidence(t)?.replaced)),
];

/// Size of each data disk: small, since all of one is filled.
pub const SIZE: u64 = 512 << 20;
/// The disk that is pulled, and the one that takes its place.
const LOST: &str = site::DISKS[1];
const NEW: &str = "DATA-C";
/// What the watch may have in memory, in KiB.
const MEMORY: u64 = 15 << 10;
const PATIENCE: Duration = Duration::from_secs(120);

/// What was seen of it.
pub struct Replaced {
    /// What the serial port said from the pull on.
    console: String,
    /// What a pod printed that wrote to the volume all the while.
    lines: Vec<String>,
}

impl Replaced {
    /// The first line that begins with this word, without it.
    pub fn line(&self, word: &str) -> Result<&str> {
        self.all(word).next().with_context(|| format!("the pod did not print {word:?} but {:?}", self.lines))
    }

    fn all(&self, word: &str) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }
}

/// The site file with a mirror that takes the blank disk in a lost one's place.
pub fn asked_for(text: &str) -> Result<String> {
    let with = text.replace("level = 1\n", "level = 1\nreplace = \"same-slot\"\n");
    ensure!(with != text, "the example has no mirror:\n{text}");
    Ok(with)
}

/// Prints each status that differs from the one before, until the node is whole again; then the watch's memory. An array
/// notices that a disk is gone when it writes to it.
const WATCH: &str = r#"
old=; lost=
while :; do
  date > /volumes/data/beat; sync /volumes/data/beat
  new=$(cat /run/bedplate/status.json)
  if [ "$new" != "$old" ]; then echo "status $(echo "$new" | tr -d '\n')"; old=$new; fi
  case $new in *'"state": "degraded"'*) lost=1;; *'"state": "ready"'*) if [ -n "$lost" ]; then break; fi;; esac
  sleep 0.3
done
echo "proof $(cat /volumes/data/proof)"
for process in /proc/[0-9]*; do
  case $(tr '\0' ' ' < $process/cmdline) in *"/firstboot watch "*)
    while read -r key value unit; do case $key in VmRSS:|VmHWM:) echo "${key%:} $value";; esac; done < $process/status;;
  esac
done 2> /dev/null
"#;

/// Pulls the disk and puts in the other one.
pub fn gather(machine: &mut Machine, plane: &mut ControlPlane) -> Result<Replaced> {
    let before = machine.log().text().len();
    machine.begin_probe_runtime(plane, "watch", WATCH)?;
    machine.pull_disk(LOST)?;
    machine.wait("the watch says that a disk is lost", PATIENCE, |log| {
        Ok(log.text()[before..].contains("lost a member").then_some(()))
    })?;
    machine.plug_blank_disk(NEW, SIZE)?;
    machine.wait("the watch says that the mirror is redundant", PATIENCE, |log| {
        Ok(log.text()[before..].contains("is redundant").then_some(()))
    })?;
    let text = machine.end_probe(plane, "watch")?;
    let console = machine.log().text()[before..].to_owned();
    Ok(Replaced { console, lines: text.lines().map(str::to_owned).collect() })
}

/// The lines are those of storage.md, "When a disk dies".
fn told(seen: &Replaced) -> Result<()> {
    let said: Vec<&str> =
        seen.console.lines().filter_map(|line| line.trim().strip_prefix("bedplate: data/data ")).collect();
    let far = |line: &&str| line.starts_with("is being rebuilt: ");
    let [loss, taken, begun, end] = said.iter().copied().filter(|line| !far(line)).collect::<Vec<_>>()[..] else {
        anyhow::bail!("the console said {said:#?}")
    };
    let words = "lost a member and runs without it: 1 of 2 members have its data; gone is ";
    ensure!(loss.starts_with(words) && loss.contains(&format!("serial {LOST} ")), "{said:#?}");
    ensure!(taken.starts_with("takes in ") && taken.contains(&format!("serial {NEW} ")), "{said:#?}");
    ensure!(begun == "is being rebuilt (recover)", "{said:#?}");
    let took =
        end.strip_prefix("is redundant after ").and_then(|rest| rest.strip_suffix(" s: 2 of 2 members have its data"));
    ensure!(took.is_some_and(|seconds| seconds.parse::<u64>().is_ok()), "{said:#?}");
    Ok(())
}

fn states(seen: &Replaced) -> Result<()> {
    let mut states: Vec<String> = Vec::new();
    for text in seen.all("status") {
        let status: Value = serde_json::from_str(text).with_context(|| format!("it is no JSON: {text}"))?;
        let volumes = status["volumes"].as_array().into_iter().flatten();
        let data = volumes.into_iter().find(|v| v["volume"] == "data/data").context("the status has no data volume")?;
        ensure!(data["available"] == true, "{data}");
        let rebuilding = data["rebuilding"]["action"].as_str().unwrap_or("at rest");
        let has = |serial: &str| data["disks"].to_string().contains(serial);
        let disks: Vec<&str> = [site::DISKS[0], LOST, NEW].into_iter().filter(|serial| has(serial)).collect();
        let (state, redundant) = (status["state"].as_str().unwrap_or_default(), data["redundant"] == true);
        let state = format!("{state}, {}, redundant {redundant}, {rebuilding}, {}", data["members"], disks.join(" "));
        if states.last() != Some(&state) {
            states.push(state);
        }
    }
    let wanted = [
        "ready, [2,2], redundant true, at rest, DATA-A DATA-B",
        "degraded, [1,2], redundant false, at rest, DATA-A",
        "degraded, [1,2], redundant false, recover, DATA-A DATA-C",
        "ready, [2,2], redundant true, at rest, DATA-A DATA-C",
    ];
    ensure!(states == wanted, "the status was {states:#?}");
    Ok(())
}

fn memory(seen: &Replaced) -> Result<()> {
    let of = |word: &str| -> Result<u64> { seen.line(word)?.parse().context("it is no number") };
    let (now, most) = (of("VmRSS")?, of("VmHWM")?);
    ensure!(now < MEMORY, "it has {now} KiB, and had {most}");
    Ok(())
}
