//! The promises are in `acceptance/`; this library is empty.
