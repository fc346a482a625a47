//! `bedplate`: arguments in, exit code out. Everything else is in the library.

fn main() -> std::process::ExitCode {
    // Before anything has a thread: this program starts itself again inside the tools tree.
    image_builder::tools::namespace::enter_if_asked();
    image_builder::cli::main()
}
