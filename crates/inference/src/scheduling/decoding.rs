//! Threads that decode pictures, so that neither a web worker nor a model's thread has to.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::queue::{NoGrouping, Queue};
use super::ticket::Ticket;
use crate::{
    error::Error,
    image::{Limits, PixelBudget, media_type, prepare, validate, write},
    manifest::ImageInput,
    settings::Settings,
    tensor::{DataType, TensorData},
};

/// A bounded queue of pictures and the threads behind it.
pub struct Decoder {
    queue: Arc<Queue<Picture>>,
    capacity: usize,
    limits: Limits,
    max_images: usize,
}

/// A picture that waits, as the file that it came as: pixels exist in the threads only.
struct Picture {
    bytes: Bytes,
    purpose: Purpose,
    deadline: Instant,
    reply: oneshot::Sender<Result<(), Error>>,
}

/// What a picture is decoded for.
enum Purpose {
    /// To become a part of a run's tensor, at its place in the batch.
    Run { place: usize, batch: Arc<Batch> },
    /// To see whether it is whole.
    Validate,
}

/// The pictures of one run, which become one tensor.
struct Batch {
    input: Arc<ImageInput>,
    datatype: DataType,
    pictures: usize,
    /// Made when the first picture is ready. Pictures are decoded and resized side by side; only the last step, which
    /// writes each into its place, is one at a time.
    values: Mutex<Option<TensorData>>,
}

impl Batch {
    /// Does something with the values. A panic meanwhile costs the picture, and with it the batch.
    fn with<T>(&self, act: impl FnOnce(&mut Option<TensorData>) -> T) -> T {
        act(&mut self.values.lock())
    }

    fn zeros(&self) -> TensorData {
        TensorData::zeros(self.datatype, self.pictures * self.input.elements())
    }
}

impl Decoder {
    pub(crate) fn start(settings: &Settings) -> Self {
        // One call may bring as many pictures as it is allowed to, however short the queue.
        let capacity = settings.queue_capacity.max(settings.max_images);
        let queue = Arc::new(Queue::new(capacity));
        let limits = Limits::from(settings);
        let room = Arc::new(PixelBudget::new(settings.max_decoding_pixels));
        for number in 0..settings.decode_threads.max(1) {
            let (queue, limits, room) = (Arc::clone(&queue), limits.clone(), Arc::clone(&room));
            let work = move || decode_all(&queue, &limits, &room);
            if let Err(error) = thread::Builder::new().name(format!("decode-{number}")).spawn(work) {
                tracing::error!(%error, "a decoding thread did not start");
            }
        }
        Self { queue, capacity, limits, max_images: settings.max_images }
    }

    /// Turns pictures into the values of `input`, in their order. Refuses at once what is too large or too many.
    pub(crate) async fn prepare(
        &self,
        images: &[Bytes],
        input: &Arc<ImageInput>,
        datatype: DataType,
        ticket: Ticket,
    ) -> Result<TensorData, Error> {
        if self.queue.len() + images.len() > self.capacity {
            // Those that nobody waits for any more must not keep others out.
            self.queue.remove(|picture| !picture.is_wanted());
        }
        let (input, pictures) = (Arc::clone(input), images.len());
        let batch = Arc::new(Batch { input, datatype, pictures, values: Mutex::new(None) });
        let mut answers = Vec::with_capacity(images.len());
        for (place, bytes) in images.iter().enumerate() {
            let purpose = Purpose::Run { place, batch: Arc::clone(&batch) };
            answers.push(self.enqueue(bytes.clone(), purpose, ticket)?);
        }
        // The first that fails ends this, and those still waiting are not wanted any more.
        for (place, answer) in answers.into_iter().enumerate() {
            answer
                .await
                .unwrap_or(Err(Error::Runtime))
                .map_err(|error| with_position(error, place, images.len()))?;
        }
        batch.with(Option::take).ok_or(Error::Runtime)
    }

    /// What a picture is, as its content says: `image/png`, …. Its header keeps the limits; no pixel is decoded.
    pub fn media_type(&self, bytes: &[u8]) -> Result<&'static str, Error> {
        media_type(bytes, &self.limits)
    }

    /// Refuses a picture that is damaged or incomplete: it is decoded, in its turn with those to predict from.
    pub async fn validate(&self, bytes: Bytes, ticket: Ticket) -> Result<(), Error> {
        self.enqueue(bytes, Purpose::Validate, ticket)?.await.unwrap_or(Err(Error::Runtime))
    }

    fn enqueue(
        &self,
        bytes: Bytes,
        purpose: Purpose,
        ticket: Ticket,
    ) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let (reply, answer) = oneshot::channel();
        let picture = Picture { bytes, purpose, deadline: ticket.deadline, reply };
        if let Some(displaced) = self.queue.push(ticket.caller, ticket.priority, picture)? {
            let _ = displaced.reply.send(Err(Error::Overloaded));
        }
        Ok(answer)
    }

    /// Checks what can be known of pictures without decoding them.
    pub(crate) fn check(&self, images: &[Bytes]) -> Result<(), Error> {
        if images.is_empty() {
            return Err(Error::InvalidInput("give at least one image".to_owned()));
        }
        if images.len() > self.max_images {
            return Err(Error::InvalidInput(format!("give at most {} images at once", self.max_images)));
        }
        let check = |(place, bytes): (usize, &Bytes)| {
            self.limits.check_bytes(bytes).map_err(|error| with_position(error, place, images.len()))
        };
        images.iter().enumerate().try_for_each(check)
    }

    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

/// Says which of several pictures it is.
fn with_position(error: Error, place: usize, pictures: usize) -> Error {
    let named = |what: String| match pictures {
        1 => what,
        _ => format!("picture {} of {pictures}: {what}", place + 1),
    };
    match error {
        Error::InvalidImage(what) => Error::InvalidImage(named(what)),
        Error::ImageTooLarge(what) => Error::ImageTooLarge(named(what)),
        other => other,
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.close();
    }
}

impl Picture {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed() && Instant::now() < self.deadline
    }

    fn work(&self, limits: &Limits, room: &PixelBudget) -> Result<(), Error> {
        let Purpose::Run { place, batch } = &self.purpose else {
            return validate(&self.bytes, limits, room, || self.is_wanted());
        };
        let pixels = prepare(&self.bytes, &batch.input, limits, room, || self.is_wanted())?;
        batch.with(|values| {
            let values = values.get_or_insert_with(|| batch.zeros());
            write(&pixels, &batch.input, values, *place)
        })
    }
}

fn decode_all(queue: &Queue<Picture>, limits: &Limits, room: &PixelBudget) {
    while let Some(picture) = queue.take(&NoGrouping).pop() {
        let answer = if picture.is_wanted() {
            // A decoder that panics on a hostile file costs that request, not the thread.
            catch_unwind(AssertUnwindSafe(|| picture.work(limits, room)))
                .unwrap_or_else(|_| Err(Error::InvalidImage("the image is damaged".to_owned())))
        } else {
            Err(Error::Deadline)
        };
        // Nobody waits any more where this fails.
        let _ = picture.reply.send(answer);
    }
}
