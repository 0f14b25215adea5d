//! What HTTP and gRPC share beneath their handlers: connections, headers, and bodies: how much of them is in memory, how
//! they are unpacked and sent.

pub mod bodies;
mod coarse_timer;
pub mod connections;
pub mod encodings;
mod header_lines;
pub mod parts;

pub use bodies::{Bodies, IncomingBody, Reservation};
pub use encodings::Encoding;
pub use header_lines::HeaderLines;
