//! The edge to the network: where inputs are served, and bringing them into the store, verified.
//!
//! Nothing that comes from outside is handed on before its digest was checked; see [`crate::store::Fetched`].

mod blob_reader;
pub mod http;
mod inputs;
pub mod mirror;
mod network;
mod sources;

pub(crate) use inputs::packages;
pub use inputs::{Inputs, all, file, tree};
pub use network::Network;
