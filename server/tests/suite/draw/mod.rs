//! TODO draw

mod descriptors;
mod errors;
mod files;
mod late_queries;
mod stop;
mod waiting;
mod winners;
