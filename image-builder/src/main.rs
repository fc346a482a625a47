//! Placeholder.
fn main() {
    image_builder::tools::namespace::enter_if_asked();
}
