//! Threads that decode pictures, so that neither a web worker nor a model's thread has to.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    error::Error,
    image::{Limits, prepare},
    manifest::ImageInput,
    model::Ticket,
    queue::Queue,
    settings::Settings,
    tensor::{DataType, TensorData},
};

/// A bounded queue of pictures and the threads behind it.
pub(crate) struct Decoder {
    queue: Arc<Queue<Picture>>,
    limits: Limits,
    max_images: usize,
}

struct Picture {
    bytes: Bytes,
    input: Arc<ImageInput>,
    datatype: DataType,
    deadline: Instant,
    reply: oneshot::Sender<Result<TensorData, Error>>,
}

impl Decoder {
    pub(crate) fn start(settings: &Settings) -> Self {
        // One call may bring as many pictures as it is allowed to, however short the queue.
        let queue = Arc::new(Queue::new(settings.queue_capacity.max(settings.max_images)));
        let limits = Limits::from(settings);
        for number in 0..settings.decode_threads.max(1) {
            let (queue, limits) = (Arc::clone(&queue), limits.clone());
            let work = move || decode_all(&queue, &limits);
            if let Err(error) = thread::Builder::new().name(format!("decode-{number}")).spawn(work) {
                tracing::error!(%error, "a decoding thread did not start");
            }
        }
        Self { queue, limits, max_images: settings.max_images }
    }

    /// Turns pictures into the values of `input`, in their order. Refuses at once what is too large or too many.
    pub(crate) async fn prepare(
        &self,
        images: &[Bytes],
        input: &Arc<ImageInput>,
        datatype: DataType,
        ticket: Ticket,
    ) -> Result<Vec<TensorData>, Error> {
        let mut answers = Vec::with_capacity(images.len());
        for bytes in images {
            let (reply, answer) = oneshot::channel();
            let (bytes, input, deadline) = (bytes.clone(), Arc::clone(input), ticket.deadline);
            self.queue.push(ticket.caller, Picture { bytes, input, datatype, deadline, reply })?;
            answers.push(answer);
        }
        let mut prepared = Vec::with_capacity(images.len());
        for answer in answers {
            prepared.push(answer.await.unwrap_or(Err(Error::Runtime))?);
        }
        Ok(prepared)
    }

    /// Checks what can be known of pictures without decoding them.
    pub(crate) fn check(&self, images: &[Bytes]) -> Result<(), Error> {
        if images.is_empty() {
            return Err(Error::InvalidInput("give at least one image".to_owned()));
        }
        if images.len() > self.max_images {
            return Err(Error::InvalidInput(format!("give at most {} images at once", self.max_images)));
        }
        images.iter().try_for_each(|bytes| self.limits.check_bytes(bytes))
    }

    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.close();
    }
}

fn decode_all(queue: &Queue<Picture>, limits: &Limits) {
    while let Some(picture) = queue.pop() {
        let Picture { bytes, input, datatype, deadline, reply } = picture;
        if reply.is_closed() {
            continue;
        }
        let answer = if Instant::now() >= deadline {
            Err(Error::Deadline)
        } else {
            // A decoder that panics on a hostile file costs that request, not the thread.
            catch_unwind(AssertUnwindSafe(|| prepare(&bytes, &input, datatype, limits)))
                .unwrap_or_else(|_| Err(Error::InvalidImage("the image is damaged".to_owned())))
        };
        // Nobody waits any more where this fails.
        let _ = reply.send(answer);
    }
}
