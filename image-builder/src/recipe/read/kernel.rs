//! What a recipe may say of its kernel.

use super::Checks;
use crate::kernel::fragment_name;
use crate::recipe::Kernel;
use std::collections::BTreeSet;

impl Checks<'_> {
    pub(super) fn kernel(&mut self, kernel: &Kernel) {
        for (key, package) in [("package", &kernel.package), ("source", &kernel.source)] {
            if let Some(package) = package {
                self.package(&["kernel", key], package);
            }
        }
        if kernel.package.is_some() == kernel.source.is_some() {
            self.fault(
                "BP-R022",
                &["kernel"],
                format!("the recipe names {} kernel", if kernel.package.is_some() { "more than one" } else { "no" }),
                "an image has one, from a package or compiled from a source package",
                "write package = \"linux-image-amd64\", or source = \"linux-source-6.12\" with config = [...]",
            );
        }
        if kernel.source.is_some() == kernel.config.is_empty() {
            self.fault(
                "BP-R022",
                &["kernel", if kernel.source.is_some() { "source" } else { "config" }],
                match kernel.source.is_some() {
                    true => "the kernel is to be compiled, and nothing says how".into(),
                    false => "a kernel from a package is configured already".to_owned(),
                },
                "fragments configure a kernel that is compiled, and one without them lacks what a node needs",
                "write config = [\"kernel-config/base.config\", ...] beside kernel.source (docs/kernel.md)",
            );
        }
        let mut names = BTreeSet::new();
        for (i, path) in kernel.config.iter().enumerate() {
            let at = ["kernel", "config", &i.to_string()];
            self.there(&at, path, "the fragment");
            if !names.insert(fragment_name(path)) {
                self.fault(
                    "BP-R022",
                    &at,
                    format!("two fragments are called {:?}", fragment_name(path)),
                    "the lock knows them by their names",
                    "give one of them another name",
                );
            }
        }
        for (i, argument) in kernel.arguments.iter().enumerate() {
            self.argument(&["kernel", "arguments", &i.to_string()], argument);
        }
    }
}
