//! Boots as a picture: one bar each, a colour per phase, on one axis of seconds. Pure: SVG 1.1 as text.

use super::figures::Step;
use std::fmt::Write;

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What stands before it.
    pub label: &'static str,
    /// Seconds before the kernel's start.
    pub firmware: f64,
    /// When each phase ended, in seconds since the kernel's start, in that order.
    pub phases: Vec<Step>,
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const BAR: f64 = 34.0;
const STRIDE: f64 = 52.0;
const TOP: f64 = 16.0;
const FIRMWARE: &str = "#c9c9c9";
/// Told apart by people who see no red or green, too (Okabe and Ito).
const COLOURS: [&str; 9] =
    ["#0072b2", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#7f7fd5", "#8c6d46"];

/// The picture of these bars. The axis is 0 at the kernel's start.
pub fn svg(bars: &[Bar]) -> String {
    let before = bars.iter().map(|b| b.firmware).fold(0.0, f64::max);
    let after = bars.iter().filter_map(|b| b.phases.last()).map(|p| p.seconds).fold(0.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / (before + after).max(1.0);
    let x = |seconds: f64| LEFT + (before + seconds) * scale;
    let axis = TOP + STRIDE * bars.len() as f64;
    let names = names(bars);
    let height = axis + 44.0 + 20.0 * names.len().div_ceil(5) as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let colour = |name: &str| match names.iter().position(|n| *n == name) {
        Some(0) | None => FIRMWARE,
        Some(index) => COLOURS[(index - 1) % COLOURS.len()],
    };
    for (index, bar) in bars.iter().enumerate() {
        let y = TOP + STRIDE * index as f64;
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            y + 22.0,
            bar.label
        );
        let mut begin = -bar.firmware;
        let firmware = Step { name: names[0].into(), seconds: 0.0 };
        for step in std::iter::once(&firmware).chain(&bar.phases) {
            let (left, right) = (x(begin), x(step.seconds.max(begin)));
            let _ = writeln!(
                text,
                "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{}\"><title>{} {:.1} s</title></rect>",
                right - left,
                colour(&step.name),
                step.name,
                step.seconds - begin
            );
            if right - left > 30.0 {
                let (middle, took) = (f64::midpoint(left, right), step.seconds - begin);
                let _ = writeln!(
                    text,
                    "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{took:.1}</text>",
                    y + 22.0
                );
            }
            begin = step.seconds;
        }
    }
    let _ = writeln!(
        text,
        "<line x1=\"{:.1}\" y1=\"{axis:.1}\" x2=\"{:.1}\" y2=\"{axis:.1}\" stroke=\"black\"/>",
        x(-before),
        x(after)
    );
    for tick in ticks(-before, after) {
        let at = x(tick);
        let _ = writeln!(
            text,
            "<line x1=\"{at:.1}\" y1=\"{axis:.1}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"black\"/>",
            axis + 5.0
        );
        let _ = writeln!(text, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick:.0}</text>", axis + 19.0);
    }
    for (index, name) in names.iter().enumerate() {
        let (left, y) = (LEFT + 155.0 * (index % 5) as f64, axis + 34.0 + 20.0 * (index / 5) as f64);
        let _ = writeln!(text, "<rect x=\"{left}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\"/>", colour(name));
        let _ = writeln!(text, "<text x=\"{}\" y=\"{}\">{name}</text>", left + 18.0, y + 11.0);
    }
    text + "</svg>\n"
}

/// Names of all phases, firmware first.
fn names(bars: &[Bar]) -> Vec<&str> {
    let mut names = vec!["firmware"];
    for step in bars.iter().flat_map(|b| &b.phases) {
        if !names.contains(&step.name.as_str()) {
            names.push(&step.name);
        }
    }
    names
}

/// Multiples of 5 within a range.
fn ticks(from: f64, to: f64) -> impl Iterator<Item = f64> {
    let (first, last) = ((from / 5.0).ceil() as i64, (to / 5.0).floor() as i64);
    (first..=last).map(|tick| tick as f64 * 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(phases: &[(&str, f64)]) -> Bar {
        let phases = phases.iter().map(|(name, seconds)| Step { name: (*name).into(), seconds: *seconds }).collect();
        Bar { label: "first boot", firmware: 10.0, phases }
    }

    #[test]
    fn lengths_are_seconds() {
        let svg = svg(&[bar(&[("kernel", 2.0), ("ready", 20.0)]), bar(&[("kernel", 1.0), ("ready", 15.0)])]);
        // 770 pixels for 30 seconds.
        for (name, seconds, wide) in
            [("firmware", "10.0", "256.7"), ("ready", "18.0", "462.0"), ("ready", "14.0", "359.3")]
        {
            let title = format!("<title>{name} {seconds} s</title>");
            let line = svg.lines().find(|l| l.contains(&title)).unwrap_or_else(|| panic!("no {title} in {svg}"));
            assert!(line.contains(&format!("width=\"{wide}\"")), "{line}");
        }
        assert_eq!(svg.matches("<title>kernel").count(), 2);
    }

    #[test]
    fn it_is_well_formed() {
        let svg = svg(&[bar(&[("kernel", 2.0)])]);
        let opened = svg.matches("<rect").count() + svg.matches("<text").count() + svg.matches("<line").count();
        let closed = svg.matches("/>").count() + svg.matches("</rect>").count() + svg.matches("</text>").count();
        assert_eq!(opened, closed, "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn ticks_are_multiples_of_five() {
        assert_eq!(ticks(-7.0, 11.0).collect::<Vec<_>>(), [-5.0, 0.0, 5.0, 10.0]);
    }
}
