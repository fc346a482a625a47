//! `stage1`: `/init` of the initrd.

fn main() {
    firstboot::stage1::run()
}
