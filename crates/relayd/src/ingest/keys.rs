//! Which publisher comes to which input.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rtmp::{
    ingest::{Ingest, Signature, check_signature, key_matches},
    url::without_query,
};
use tokio::sync::mpsc;

use super::{Closed, Guest};
use crate::{
    config::{OnDuplicate, PushConfig},
    stream::Stream,
};

/// A connection that has asked to publish.
pub struct Publisher {
    /// Its socket.
    pub stream: Stream,
    /// Its session, not yet accepted.
    pub session: Ingest,
    /// Its place among the connections.
    pub guest: Guest,
}

/// The keys of all push inputs that are wanted now, and the way to each.
#[derive(Clone, Debug, Default)]
pub struct PushKeys(Arc<Mutex<Vec<Arc<Place>>>>);

/// A key's place: one publisher at a time.
#[derive(Debug)]
struct Place {
    config: PushConfig,
    way: mpsc::Sender<Box<Publisher>>,
    /// When the publisher who is here was last heard of; None: nobody is.
    heard: Mutex<Option<Instant>>,
}

impl PushKeys {
    /// Hands a publisher to the input of its key, or gives it back with the cause. `unix_time` in seconds is for the
    /// times in signed URLs.
    ///
    /// Every key is compared and every signature computed, whichever fits, in constant time each; only for names and
    /// queries longer than any that is meant none is.
    pub fn admit(
        &self,
        (app, key): (&[u8], &[u8]),
        publisher: Box<Publisher>,
        unix_time: u64,
        now: Instant,
    ) -> Result<(), (Box<Publisher>, Closed)> {
        // What a name costs grows with its length, for every key; none that is configured is nearly as long.
        if without_query(app).len() + without_query(key).len() > MAX_NAME {
            return Err((publisher, Closed::UnknownKey));
        }
        // So does what the search for a signature costs with the whole. Where none is asked for queries cost nothing.
        let may_be_signed = app.len() + key.len() <= MAX_SIGNED;
        let places = self.lock();
        let mut found = None;
        for place in places.iter() {
            let signature = match &place.config.tx_key {
                Some(tx_key) if may_be_signed => check_signature(tx_key.expose().as_bytes(), app, key, unix_time),
                Some(_) => Signature::Invalid,
                None => Signature::Valid,
            };
            if key_matches(place.config.key.expose().as_bytes(), app, key) {
                found = Some((place, signature));
            }
        }
        let place = match found {
            None => return Err((publisher, Closed::UnknownKey)),
            Some((_, Signature::Invalid)) => return Err((publisher, Closed::Signature)),
            Some((_, Signature::Expired)) => return Err((publisher, Closed::Expired)),
            Some((place, Signature::Valid)) => place,
        };
        place.take(publisher, now).map_err(|publisher| (publisher, Closed::Busy))
    }

    /// Makes a key known, for as long as the registration is kept.
    pub fn register(&self, config: &PushConfig) -> Registration {
        let (way, publishers) = mpsc::channel(1);
        let place = Arc::new(Place { config: config.clone(), way, heard: Mutex::default() });
        self.lock().push(Arc::clone(&place));
        Registration { keys: self.clone(), place, publishers }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Sends the newcomer on its way if the place may be its own. Whoever holds `heard` sees both or neither: the place is
    /// taken, and its publisher on the way.
    fn take(&self, mut publisher: Box<Publisher>, now: Instant) -> Result<(), Box<Publisher>> {
        let mut heard = self.lock();
        let may_be_taken = heard.is_none_or(|heard| {
            let silent = now.saturating_duration_since(heard);
            self.config.on_duplicate == OnDuplicate::Replace && silent >= self.config.replace_after
        });
        let permit = self.way.try_reserve().ok().filter(|_| may_be_taken);
        let Some(permit) = permit else { return Err(publisher) };
        *heard = Some(now);
        publisher.guest.let_in();
        permit.send(publisher);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An input's hold on its key; given back when it is dropped.
pub struct Registration {
    keys: PushKeys,
    place: Arc<Place>,
    publishers: mpsc::Receiver<Box<Publisher>>,
}

impl Registration {
    /// The next publisher. One that comes while another is here takes its place.
    pub async fn publisher(&mut self) -> Option<Box<Publisher>> {
        self.publishers.recv().await
    }

    /// The publisher has sent something.
    pub fn heard(&self, now: Instant) {
        *self.place.lock() = Some(now);
    }

    /// The publisher is gone, unless another is on its way already.
    pub fn vacate(&self) {
        let mut heard = self.place.lock();
        if self.publishers.is_empty() {
            *heard = None;
        }
    }

    /// How long a publisher may say nothing.
    pub fn idle_timeout(&self) -> Duration {
        self.place.config.idle_timeout
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.keys.lock().retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

/// Bytes of app and stream name, without their queries, that are compared at all.
const MAX_NAME: usize = 2 << 10;
/// Bytes of app and stream name, with their queries, in which a signature is looked for.
const MAX_SIGNED: usize = 4 << 10;
