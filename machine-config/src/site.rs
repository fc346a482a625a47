//! A site file as read: its values, and where each stands in the text.

use crate::document::{self, Source, sorted};
use crate::schema::Site;
use crate::{Diagnostic, Place};
use toml::de::DeTable;

/// The format of the site file that this version reads.
pub const FORMAT: u32 = 1;

/// A site file whose every key and value fits the schema. Rules across fields are [`check`](crate::check)'s.
#[derive(Debug, Clone)]
pub struct SiteFile<'t> {
    pub(crate) site: Site,
    pub(crate) table: DeTable<'t>,
    pub(crate) source: Source,
}

/// A site file as far as it can be read, and what is wrong with the rest.
pub(crate) struct Partial<'t> {
    /// The file without the keys that have faults, if that is a site file.
    pub file: Option<SiteFile<'t>>,
    /// The faults.
    pub faults: Vec<Diagnostic>,
    /// Keys that were taken out: what is said about them, or of what stands beside them, would be a guess.
    pub doubts: Vec<Vec<String>>,
}

impl<'t> SiteFile<'t> {
    /// Reads a site file. `name` is what diagnostics call it.
    ///
    /// # Errors
    /// Every fault of syntax and schema.
    pub fn read(text: &'t str, name: &str) -> Result<SiteFile<'t>, Vec<Diagnostic>> {
        let partial = read_partially(text, name);
        match partial.file {
            Some(file) if partial.faults.is_empty() => Ok(file),
            _ => Err(sorted(partial.faults)),
        }
    }

    /// The values.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Where the value at a path of keys stands, or the nearest key above it.
    pub fn place(&self, path: &[&str]) -> Place {
        self.source.place(document::offset_at(&self.table, path))
    }
}

pub(crate) fn read_partially<'t>(text: &'t str, name: &str) -> Partial<'t> {
    let reading = document::read::<Site>(text, name);
    let doubts = reading.faults.iter().map(|fault| fault.path.clone()).collect();
    let mut faults: Vec<Diagnostic> = reading.faults.into_iter().map(|fault| fault.diagnostic).collect();
    let file = reading.value.map(|site| SiteFile { site, table: reading.table, source: reading.source });
    if let Some(file) = &file
        && file.site.format != FORMAT
    {
        faults.push(Diagnostic {
            code: "BP-C007".into(),
            what: format!("this site file is of format {}", file.site.format),
            place: Some(file.place(&["format"])),
            why: format!("This version reads format {FORMAT}; what the keys of another one mean would be a guess."),
            mend: format!("Write the file in format {FORMAT}, or use the version of bedplate it was written for."),
        });
        return Partial { file: None, faults, doubts };
    }
    Partial { file, faults, doubts }
}
