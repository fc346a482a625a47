//! The builder with its real tools: what `make image` locked and brought to the store. No machine is started.
//!
//! One program for all of it, without the usual harness: compiling C starts this program again, and must do so
//! before it has threads.

mod agent;
mod components;
mod ends;
mod explain;
mod init;
mod inputs;
mod kernel;
mod microcode;
mod person;
mod rebuild;
mod release;
mod sealing;
mod signing;
mod twin;
mod whole;

use image_builder::progress::Progress;
use image_builder::store::Store;
use image_builder::tools::{Tools, namespace};
use libtest_mimic::Trial;
use qemu_tests::bench::repository;
use qemu_tests::tiers::{self, case};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

fn main() -> ExitCode {
    namespace::enter_if_asked();
    let test = |name: &str, check: fn()| {
        case(name, move || {
            check();
            Ok::<(), anyhow::Error>(())
        })
    };
    // The longest first: what is left runs beside it.
    let trials: Vec<Trial> = vec![
        test("the agent is the same bytes on another host", agent::same_on_another_host),
        test("builds ended at random moments leave a store that the next one uses", ends::at_random_moments),
        test("a sealed root is sound and the same from another store", sealing::sound_and_the_same),
        test("a second seal takes what the store has", sealing::second_run),
        test("content that can't be read is an error and leaves nothing", sealing::unreadable_content),
        test("a content is packed once for all images, also by two builds at a time", sealing::packed_once),
        test("any tree comes back from its image", sealing::any_tree_comes_back),
        test(
            "a tree of programs comes back from an image no larger than that of mkfs.erofs",
            sealing::programs_come_back,
        ),
        test("a folder of 100,000 names comes back from its image", sealing::many_names_come_back),
        test("a sparse file of more than 4 GiB comes back from its image", sealing::a_sparse_file_comes_back),
        test("two releases of one lock are equal and every change is found", release::equal_and_every_change_is_found),
        test("an earlier release is replaced and anything else is kept", release::replaced_or_kept),
        test("a draft is a release without manifest, sums and signature", release::a_draft_is_no_release),
        test("a root that is not the signed one is found by its hash", release::another_root),
        test("a new site locks and builds what the example does", init::first_build),
        test("a stranger rebuilds a release and is told what differs", rebuild::by_a_stranger),
        test("a full uki that is not the signed one is found, on a disc, too", release::another_full_uki),
        test("a release has the artifacts that its recipe asks for", release::artifacts_as_asked_for),
        test("every path of the image has an input that the lock knows", explain::every_path_has_its_input),
        test("what is not in the image is told with the reason", explain::what_is_not_there_has_a_reason),
        test(
            "invariant 10: what could touch disks beside the agent is masked in the image",
            explain::nothing_but_the_agent_touches_disks,
        ),
        test("a release differs in nothing from itself and its own lock", explain::nothing_differs),
        test("the bill of materials is complete and as cyclonedx wants it", explain::bill_of_materials),
        test("a scanner of the image finds every package", explain::scanners_find_every_package),
        test("the uki hands over the microcode of the packages", microcode::handed_over),
        test("the modules of the image are those of the package, byte for byte", kernel::modules_as_signed),
        test(
            "the fragments take effect on the locked source and give what a node needs",
            kernel::fragments_take_effect,
        ),
        test("a build from an export alone gives the same bytes", inputs::same_bytes_from_an_export),
        test("keys on a token sign the same bytes as keys in files", signing::token_signs_the_same),
        test("a component is the same bytes from another store", components::same_bytes),
        test("the tools tree compiles and links c statically", components::static_c),
        test("the composed root is what the distribution's tools install", twin::same_as_installed),
        test("images of the root come, stay and go with it", components::images_of_the_root),
        test("two people without a network build the same bytes, one after a killed build", whole::same_bytes),
    ];
    tiers::run_side_by_side("build", 2, trials)
}

fn recipe() -> PathBuf {
    repository().join("examples/node/recipe.toml")
}

/// The tools tree of the example's lock.
fn tools() -> Tools {
    static TOOLS: LazyLock<Tools> = LazyLock::new(|| {
        let store = Store::open(&Store::default_folder()).expect("the store opens");
        let tools = Tools::of_recipe(&recipe(), &store, &Progress::silent());
        tools.unwrap_or_else(|e| panic!("{e:#}; `make image` locks and fetches the tools"))
    });
    TOOLS.clone()
}
