//! Where what a prediction takes finds room and is worked on: whoever asks for it bounds both.

use crate::error::Error;

/// Room for one prediction, and threads for what grows with it.
pub trait Workplace {
    /// Has room for this many bytes in all, until the prediction is answered. [`Error::Overloaded`]: there is none now;
    /// [`Error::TooLarge`]: there never is.
    fn hold(&mut self, bytes: usize) -> Result<(), Error>;

    /// Does work that grows with this many bytes.
    fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>>;
}

/// Here and now, without bounds.
#[derive(Debug, Clone, Copy)]
pub struct AnyPlace;

impl Workplace for AnyPlace {
    fn hold(&mut self, _: usize) -> Result<(), Error> {
        Ok(())
    }

    async fn work<T: Send + 'static>(
        &self,
        _: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        Ok(work())
    }
}
