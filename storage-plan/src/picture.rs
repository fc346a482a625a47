//! A plan as a picture: disks on the left, volumes on the right, a line for each disk that a volume is on, and below each
//! volume what is done for it. Pure: SVG 1.1 as text.
//!
//! The verdict is said in a word, not in colour alone.

use crate::inventory::{Device, Inventory, size_words};
use crate::verdict::{Plan, Verdict, VolumeVerdict};
use machine_config::Diagnostic;
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: usize = 1180;
const MARGIN: usize = 16;
const DISK_WIDTH: usize = 360;
const VOLUME_LEFT: usize = 560;
const VOLUME_WIDTH: usize = WIDTH - MARGIN - VOLUME_LEFT;
const DISK_HEIGHT: usize = 44;
const GAP: usize = 12;
const LINE: usize = 18;
const HEAD: usize = 40;
/// About as many characters of 13 pixels go into a volume's box.
const TEXT: usize = 84;

/// The picture of `plan`, which was made of `inventory`.
pub fn svg(inventory: &Inventory, plan: &Plan) -> String {
    let items = place_volumes(plan);
    let disks = place_disks(inventory, plan, &items);
    let bottom = |end: Option<usize>| end.unwrap_or(HEAD) + MARGIN;
    let height = bottom(items.last().map(|i| i.top + i.height)).max(bottom(disks.last().map(|d| d.top + DISK_HEIGHT)));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut out, MARGIN, 24, "font-weight=\"bold\"", &format!("{} disks", inventory.devices.len()));
    text(&mut out, VOLUME_LEFT, 24, "font-weight=\"bold\"", &summary(plan));
    for item in &items {
        for disk in disks.iter().filter(|d| item.disks.contains(&d.device.words())) {
            let (from, to) = (disk.top + DISK_HEIGHT / 2, item.top + LINE);
            let (left, right) = (MARGIN + DISK_WIDTH, VOLUME_LEFT);
            let middle = usize::midpoint(left, right);
            let _ = writeln!(
                out,
                "<path d=\"M{left} {from} C{middle} {from} {middle} {to} {right} {to}\" fill=\"none\" stroke=\"{}\" \
                 stroke-width=\"2\"/>",
                colour(item.verdict)
            );
        }
    }
    disks.iter().for_each(|disk| draw_disk(&mut out, disk));
    items.iter().for_each(|item| draw_item(&mut out, item));
    out.push_str("</svg>\n");
    out
}

/// Told apart by people who see no red or green, too (Okabe and Ito).
fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Keep | Verdict::Adopt => "#0072b2",
        Verdict::Create => "#009e73",
        Verdict::Repair => "#e69f00",
        Verdict::Refuse => "#d55e00",
    }
}

fn summary(plan: &Plan) -> String {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    plan.volumes.iter().for_each(|v| *counts.entry(v.verdict).or_default() += 1);
    let counts: Vec<String> = counts.iter().map(|(verdict, n)| format!("{n} {}", verdict.word())).collect();
    let verdicts = if counts.is_empty() { "no volumes".into() } else { counts.join(", ") };
    let end = if plan.is_blocked() { "it is not carried out" } else { "it can be carried out" };
    format!("{verdicts}; {} writes; {end}", plan.writes())
}

/// A box on the right: a volume, or what is wrong with the configuration as a whole.
struct Item<'a> {
    verdict: Verdict,
    head: String,
    lines: Vec<String>,
    disks: &'a [String],
    top: usize,
    height: usize,
}

fn place_volumes(plan: &Plan) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = plan.volumes.iter().map(|volume| of_volume(plan, volume)).collect();
    if !plan.refusals.is_empty() {
        let lines = plan.refusals.iter().flat_map(refused).collect();
        let head = "the configuration: refuse".into();
        items.push(Item { verdict: Verdict::Refuse, head, lines, disks: &[], top: 0, height: 0 });
    }
    let mut top = HEAD;
    for item in &mut items {
        item.top = top;
        item.height = LINE * (1 + item.lines.len()) + GAP;
        top += item.height + GAP;
    }
    items
}

fn of_volume<'a>(plan: &'a Plan, volume: &'a VolumeVerdict) -> Item<'a> {
    let need = if volume.required { "" } else { " (the node joins without it)" };
    let head = format!("{}: {}{need}", volume.volume, volume.verdict.word());
    let level = volume.array.as_ref().map(|a| format!("RAID{} of {}, {} there; ", a.level, a.wanted, a.present));
    let mut lines = wrap(&format!("{}{} on {}", level.unwrap_or_default(), volume.content(), volume.mount));
    lines.extend(volume.reasons.iter().flat_map(|reason| wrap(reason)));
    for (number, step) in plan.graph.steps.iter().enumerate().filter(|(_, step)| step.volume == volume.volume) {
        lines.extend(wrap(&format!("{}. {}", number + 1, step.action.words())));
    }
    lines.extend(volume.refusals.iter().flat_map(refused));
    Item { verdict: volume.verdict, head, lines, disks: &volume.disks, top: 0, height: 0 }
}

fn refused(refusal: &Diagnostic) -> Vec<String> {
    wrap(&format!("{}: {}", refusal.code, refusal.what))
}

struct PlacedDisk<'a> {
    device: &'a Device,
    top: usize,
    used: bool,
}

/// Disks of the first volume first, so that few lines cross; those of none last.
fn place_disks<'a>(inventory: &'a Inventory, plan: &Plan, items: &[Item<'_>]) -> Vec<PlacedDisk<'a>> {
    let first = |device: &Device| {
        let words = device.words();
        plan.volumes.iter().position(|v| v.disks.contains(&words)).unwrap_or(plan.volumes.len())
    };
    let mut devices: Vec<(usize, &Device)> = inventory.devices.iter().map(|d| (first(d), d)).collect();
    devices.sort_by_key(|(volume, device)| (*volume, device.words()));
    let mut top = HEAD;
    let mut placed = Vec::new();
    for (volume, device) in devices {
        // Beside its volume, where there is room.
        top = top.max(items.get(volume).map_or(top, |v| v.top));
        placed.push(PlacedDisk { device, top, used: volume < plan.volumes.len() });
        top += DISK_HEIGHT + GAP;
    }
    placed
}

fn draw_disk(out: &mut String, disk: &PlacedDisk<'_>) {
    let PlacedDisk { device, top, used } = disk;
    let (fill, stroke) = if *used { ("#f4f4f4", "#555555") } else { ("white", "#bbbbbb") };
    frame(out, (MARGIN, *top, DISK_WIDTH, DISK_HEIGHT), fill, stroke, &device.words());
    let bay = device.slot.as_ref().map(|slot| format!("bay {}", slot.bay)).or_else(|| device.by_path.first().cloned());
    let serial = device.identity().unwrap_or("no serial number");
    let first = format!("{}  {serial}", bay.unwrap_or_else(|| device.name.clone()));
    let holds = device.holds();
    let holds = if holds.is_empty() { String::new() } else { format!("  holds {}", holds.join(", ")) };
    let second = format!("{}  {}{holds}", size_words(device.size), device.model.as_deref().unwrap_or("unknown model"));
    text(out, MARGIN + 8, top + LINE, "", &cut(&first, 50));
    text(out, MARGIN + 8, top + 2 * LINE, "fill=\"#555555\"", &cut(&second, 50));
}

fn draw_item(out: &mut String, item: &Item<'_>) {
    let stroke = colour(item.verdict);
    frame(out, (VOLUME_LEFT, item.top, VOLUME_WIDTH, item.height), "white", stroke, &item.head);
    let how = format!("font-weight=\"bold\" fill=\"{stroke}\"");
    text(out, VOLUME_LEFT + 8, item.top + LINE, &how, &cut(&item.head, TEXT));
    for (number, line) in item.lines.iter().enumerate() {
        let how = if number == 0 { "" } else { "fill=\"#555555\"" };
        text(out, VOLUME_LEFT + 8, item.top + (2 + number) * LINE, how, line);
    }
}

/// A box (left, top, width, height) with a title for whoever points at it.
fn frame(out: &mut String, place: (usize, usize, usize, usize), fill: &str, stroke: &str, title: &str) {
    let (left, top, width, height) = place;
    let _ = writeln!(
        out,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"4\" fill=\"{fill}\" \
         stroke=\"{stroke}\" stroke-width=\"2\"><title>{}</title></rect>",
        escaped(title)
    );
}

fn text(out: &mut String, left: usize, base: usize, how: &str, words: &str) {
    let gap = if how.is_empty() { "" } else { " " };
    let _ = writeln!(out, "<text x=\"{left}\" y=\"{base}\"{gap}{how}>{}</text>", escaped(words));
}

/// Disks tell what they like of themselves; none of it is markup, and XML has no control characters.
fn escaped(words: &str) -> String {
    words.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
        out
    })
}

fn cut(words: &str, length: usize) -> String {
    match words.char_indices().nth(length) {
        Some((at, _)) => format!("{}\u{2026}", words[..at].trim_end()),
        None => words.to_owned(),
    }
}

/// Lines of a box, broken at blanks.
fn wrap(words: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > TEXT {
            lines.push(cut(word, TEXT));
        } else {
            let gap = if lines[last].is_empty() { "" } else { " " };
            lines[last] = format!("{}{gap}{}", lines[last], cut(word, TEXT));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_disk_says_stays_text() {
        assert_eq!(escaped("<b>&\"\u{7}"), "&lt;b&gt;&amp;&quot;\u{fffd}");
        assert_eq!(cut("häuser", 2), "hä\u{2026}");
    }

    #[test]
    fn long_lines_are_broken_and_no_word_is_lost() {
        let words = "word ".repeat(60);
        let lines = wrap(&words);
        assert!(lines.len() > 3 && lines.iter().all(|l| l.chars().count() <= TEXT));
        assert_eq!(lines.join(" "), words.trim());
    }
}
