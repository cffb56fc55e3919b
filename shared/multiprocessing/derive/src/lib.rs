//! The derives of the crate shm-multiprocessing, which exports and documents them. They read the
//! tokens without a parser, so that they need no other crate.

mod shareable;
mod shared_state;
mod tokens;

use proc_macro::TokenStream;

use tokens::Refusal;

/// Implements the trait of the same name for a structure. The documentation of the trait explains
/// what the structure must look like.
#[proc_macro_derive(Shareable)]
pub fn shareable(item: TokenStream) -> TokenStream {
    shareable::derive(item).unwrap_or_else(Refusal::into_error)
}

/// Implements the trait of the same name for a structure. The documentation of the trait explains
/// the attributes.
#[proc_macro_derive(SharedState, attributes(shared))]
pub fn shared_state(item: TokenStream) -> TokenStream {
    shared_state::derive(item).unwrap_or_else(Refusal::into_error)
}
