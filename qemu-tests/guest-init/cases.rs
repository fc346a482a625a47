//! The storage cases: what each does on the guest's disks, and what must hold after it.

mod altered;
mod before_writing;
mod common;
mod encryption;
mod erasing;
pub mod groups;
mod growing;
mod image;
mod journal;
mod levels;
mod own_commands;
mod partitions;
mod policies;
mod raw;
mod replacing;
mod retiring;
mod returning;
mod sectors;
pub mod system_disks;
mod tpm;
mod volumes;

use common::{
    MIRROR, MOUNTS, STATE, boot_from, clear, codes, full, member_start, passphrase, pull, put_back, run, run_by,
    run_from, run_with, stop, verdicts, witness,
};
pub use common::{boot, run_watched, secrets, stop_all, striped, wait_for_syncs};
use machine_config::schema::{Format, Level};
use qemu_tests::guest::{FOREIGN, FORMATS, LZ4_IMAGE, MISSING, OBSERVE, TAKEN_PLACE, ZSTD_IMAGE, disks, images};

/// The case of this name.
pub fn of(name: &str) -> Option<Box<dyn Fn() + std::panic::UnwindSafe>> {
    if let Some((_, foreign)) = FOREIGN.iter().find(|(case, _)| *case == name) {
        return Some(Box::new(|| volumes::a_foreign_disk_is_refused(*foreign)));
    }
    let case = OWN.iter().find(|(case, _)| *case == name)?.1;
    Some(Box::new(case))
}

/// The cases that are not about one foreign disk. A name that the host's list does not have never runs, and one that
/// is lacking here fails there.
const OWN: &[(&str, fn())] = &[
    (OBSERVE, volumes::observe_reads_what_disks_are),
    (MISSING, volumes::a_missing_disk_is_refused_by_name),
    (FORMATS, volumes::every_other_format_is_refused),
    ("invariant 4: what an interrupted run began is known as ours", volumes::what_was_begun_is_known),
    (
        "begun and blank disks become RAID1 with XFS, ext4 on each disk, and the state partition",
        volumes::begun_and_blank_disks_become_volumes,
    ),
    ("a second run keeps every volume and runs no action", volumes::a_second_run_runs_no_action),
    ("a restart keeps every volume and every file, and writes nothing", volumes::a_restart_keeps_everything),
    (
        "invariant 4: a volume of type provisioning is made anew, and no other",
        volumes::a_provisioning_volume_is_made_anew,
    ),
    ("a damaged table is repaired, and nothing else is written", volumes::a_damaged_table_is_repaired),
    (
        "invariant 4: an ext4 whose superblock a power cut tore is mounted with its files",
        volumes::a_torn_superblock_is_put_right,
    ),
    (
        "invariant 8: a mirror without one disk runs, and says that it is degraded",
        volumes::a_mirror_without_one_disk_runs,
    ),
    (TAKEN_PLACE, replacing::a_foreign_disk_does_not_replace_a_member),
    (
        "a mirror takes the named blank disk in place of the lost one, is filled from the other, and runs on it alone",
        replacing::a_named_disk_replaces_a_member,
    ),
    ("a RAID0 of two disks is made and kept, and refused without one of them", || {
        levels::an_array_with_stripes(Level::Raid0, 2, 0, &["R2"], false)
    }),
    ("a RAID5 of three disks and a spare is made and kept, and runs without a member", || {
        levels::an_array_with_stripes(Level::Raid5, 4, 1, &["R1"], true)
    }),
    ("a RAID6 of four disks is made and kept, and runs without two of them", || {
        levels::an_array_with_stripes(Level::Raid6, 4, 0, &["R2", "R3"], true)
    }),
    ("a RAID10 of four disks is made and kept, and runs without one of each pair", || {
        levels::an_array_with_stripes(Level::Raid10, 4, 0, &["R1", "R4"], true)
    }),
    (
        "invariant 2: a permit for something else, elsewhere or of yesterday does nothing",
        erasing::a_permit_that_does_not_fit,
    ),
    ("invariant 2: a permit that names what is there frees the disk", erasing::a_permit_that_fits_frees_the_disk),
    (
        "an NVMe disk erases itself by a permit for that, and one that can't is not written to",
        erasing::a_disk_erases_itself,
    ),
    (
        "an ATA disk erases itself by its security commands, and one that is frozen or has a password is not written to",
        own_commands::an_ata_disk_erases_itself,
    ),
    (
        "an ATA disk that fails to erase itself is left without a password, and gone on with by its note",
        own_commands::an_ata_disk_that_fails_is_left_without_a_password,
    ),
    ("ATA and SCSI disks are sanitized by their own commands", own_commands::disks_are_sanitized),
    (
        "a disk without the erase command of the permit's method is not written to",
        own_commands::what_a_disk_can_not_do_is_refused,
    ),
    (
        "an Opal drive is reverted by the PSID on its label, and by no other",
        own_commands::an_opal_drive_is_reverted_by_its_psid,
    ),
    (
        "a locked Opal drive, of which nothing can be read, is reverted and taken",
        own_commands::a_locked_drive_is_reverted,
    ),
    (
        "a drive that a revert would not erase is not written to",
        own_commands::a_drive_that_would_not_be_erased_is_not_reverted,
    ),
    (
        "an Opal drive that was reverted when the power went is gone on with by its note, without the PSID",
        own_commands::a_drive_that_was_reverted_is_gone_on_with_by_its_note,
    ),
    ("invariant 2: a permit is used once", erasing::a_permit_is_used_once),
    (
        "invariant 4: a disk that was half erased when the power went is erased without the permit",
        erasing::a_half_erased_disk_is_erased,
    ),
    (
        "a volume whose generation is raised is made anew with a permit, and no other",
        erasing::a_raised_generation_makes_anew_what_it_names,
    ),
    (
        "a volume is made and mounted with the options that the site file gives",
        policies::volumes_are_made_and_mounted_as_asked,
    ),
    (
        "raw volumes are made, left alone whatever is on them, and found by a path",
        raw::raw_volumes_are_made_and_left_alone,
    ),
    (
        "two partitions on each disk are made together, kept over a restart, and never cut anew",
        partitions::two_on_each_disk_are_made_together,
    ),
    (
        "encrypted volumes are made, opened with the passphrase and with no other, and hold nothing that can be read without",
        encryption::encrypted_volumes_are_made_and_opened,
    ),
    (
        "a volume group and a volume of each layout are made, and found again with what they hold",
        groups::a_group_is_made_and_found_again,
    ),
    (
        "invariant 4: a half-made volume of a group is made anew, and no other",
        groups::only_a_half_made_volume_is_made_anew,
    ),
    (
        "a volume of a group is made larger while it is mounted, and an interrupted run is gone on with",
        groups::a_volume_is_made_larger_while_it_is_mounted,
    ),
    (
        "invariant 4: a mirror of a group that lost a copy while it was made is not finished, and made anew",
        groups::a_mirror_that_lost_a_copy_is_not_finished,
    ),
    (
        "a lost disk of a group stops what lies on it, and a mirror runs without a copy",
        groups::a_lost_disk_stops_what_lies_on_it,
    ),
    ("a RAID1 with XFS is made as large as the disks that its members were replaced by, while it is mounted", || {
        let members = [disks::REPLACEMENT, disks::SYSTEMS[1], disks::SYSTEMS[2]];
        growing::an_array_takes_up_what_its_members_have(Level::Raid1, &members, Format::Xfs);
    }),
    ("a RAID5 with ext4 is made as large as the disks that its members were replaced by, while it is mounted", || {
        let members = [disks::STRIPED[0], disks::REPLACEMENT, disks::SYSTEMS[1], disks::SYSTEMS[2]];
        growing::an_array_takes_up_what_its_members_have(Level::Raid5, &members, Format::Ext4);
    }),
    (
        "invariant 4: a file system that an interrupted run left smaller than its array is made larger",
        growing::a_file_system_that_was_left_smaller_is_made_larger,
    ),
    (
        "a member of a larger RAID1 that leaves before what is new was synced gets that when it comes back after a restart",
        growing::what_is_new_comes_with_a_member_that_comes_back,
    ),
    (
        "disks with sectors of 4096 bytes become arrays, groups and encrypted volumes that are found again",
        sectors::volumes_are_made_on_large_sectors,
    ),
    (
        "a disk with sectors of another size is no member of an array or a group, also not in place of a lost one",
        sectors::an_array_has_sectors_of_one_size,
    ),
    (
        "what the TPM opens is opened under releases of the same key alone, and with the recovery key when the TPM is cleared",
        tpm::the_tpm_opens_what_it_should,
    ),
    (
        "invariant 6: a dirty array that lacks a member is read where the site file says so, and nothing is written to it",
        policies::a_dirty_degraded_array_is_read,
    ),
    (
        "an array keeps its journal on a disk of its own, is not written to without it, and says so when it fails",
        journal::an_array_keeps_its_journal,
    ),
    (
        "invariant 5: each disk is locked and looked at again before the first write to any",
        before_writing::disks_are_locked_and_looked_at_again,
    ),
    (
        "invariant 7: a program that is missing is named before anything is written",
        before_writing::a_missing_program_is_named_before_anything_is_written,
    ),
    ("an array is synced as fast as the site file says", policies::an_array_is_rebuilt_as_fast_as_asked),
    ("an array is scrubbed when that is due, and what came of it is told", policies::an_array_is_scrubbed),
    ("after each step the model shows what observing sees", levels::the_model_is_what_happens),
    ("invariant 9: a higher number of spares and a name add a spare, which takes over when a member fails", || {
        replacing::a_spare_is_added_to_an_array_that_runs();
    }),
    ("a member of a RAID1 that was away comes back and gets what it missed", returning::a_member_comes_back),
    (
        "invariant 3: halves of a RAID1 that were used apart stay apart",
        returning::halves_that_were_used_apart_stay_apart,
    ),
    (
        "a RAID1 copies a retired member onto the named blank disk while it serves, over a restart, and lets it go",
        || {
            retiring::a_member_is_copied_and_let_go_of(Level::Raid1, &disks::STRIPED[..2]);
        },
    ),
    ("a RAID5 with a parity log copies a retired member onto the named blank disk, and lets it go", || {
        retiring::a_member_is_copied_and_let_go_of(Level::Raid5, &disks::STRIPED[..3]);
    }),
    (
        "a RAID5 takes the blank disk in the slot of the lost one while it runs, also after an interrupted run",
        replacing::a_disk_in_the_slot_replaces_a_member,
    ),
    ("a mirror whose member is pulled under load is filled onto the blank disk put in its place", || {
        replacing::a_member_is_pulled_under_load(Level::Raid1, 2);
    }),
    ("a RAID5 whose member is pulled under load is filled onto the blank disk put in its place", || {
        replacing::a_member_is_pulled_under_load(Level::Raid5, 3);
    }),
    ("what a member of a RAID5 altered is found by a scrub, and comes back whole on the disk put in its place", || {
        altered::what_a_member_altered_is_found_and_comes_back(Level::Raid5, 3);
    }),
    ("what a member of a RAID6 altered is found by a scrub, and comes back whole on the disk put in its place", || {
        altered::what_a_member_altered_is_found_and_comes_back(Level::Raid6, 4);
    }),
    (
        "the state is mirrored on two system disks with the image on both, started from either, and made whole again",
        system_disks::the_state_is_mirrored_on_system_disks,
    ),
    (
        "an array that fails while it runs is refused, and everything else is looked at",
        levels::an_array_fails_while_it_runs,
    ),
    (ZSTD_IMAGE, || image::an_image_is_shown_as_it_is(images::IMAGES[0].0)),
    (LZ4_IMAGE, || image::an_image_is_shown_as_it_is(images::IMAGES[1].0)),
];
