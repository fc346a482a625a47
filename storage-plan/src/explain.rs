//! A plan as a table for people.

use crate::verdict::Plan;
use std::fmt::Write;

/// The plan, one volume a line with its reasons below it, then the steps, then every refusal.
pub fn table(plan: &Plan) -> String {
    let rows: Vec<[String; 5]> = plan
        .volumes
        .iter()
        .map(|v| {
            let level = v
                .array
                .as_ref()
                .map_or_else(|| "single".into(), |a| format!("RAID{} {}/{}", a.level, a.present, a.wanted));
            [v.volume.clone(), v.verdict.word().into(), v.content(), level, v.mount.clone()]
        })
        .collect();
    let head = ["volume", "verdict", "format", "level", "mount"].map(str::to_owned);
    let width = |i: usize| rows.iter().chain([&head]).map(|r| r[i].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let line = |row: &[String; 5]| {
        let cells = (0..4).map(|i| format!("{:<1$}", row[i], widths[i])).collect::<Vec<_>>().join("  ");
        format!("{cells}  {}", row[4])
    };
    let mut text = String::new();
    let _ = writeln!(text, "{}", line(&head));
    for (row, volume) in rows.iter().zip(&plan.volumes) {
        let _ = writeln!(text, "{}", line(row));
        for reason in &volume.reasons {
            let _ = writeln!(text, "  {reason}");
        }
        for disk in &volume.disks {
            let _ = writeln!(text, "  on {disk}");
        }
        if let Some(place) = &volume.place {
            let _ = writeln!(text, "  as {place} says");
        }
    }
    if !plan.graph.steps.is_empty() {
        let _ = writeln!(text, "\nsteps");
        for (i, step) in plan.graph.steps.iter().enumerate() {
            let after = step.after.iter().map(|a| (a + 1).to_string()).collect::<Vec<_>>().join(", ");
            let after = if after.is_empty() { String::new() } else { format!("  (after {after})") };
            let _ = writeln!(text, "{:>3}. {}{after}", i + 1, step.action.words());
        }
    }
    for refusal in plan.all_refusals() {
        let _ = writeln!(text, "\n{refusal}");
    }
    text
}
