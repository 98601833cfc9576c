//! Seats for those who stay: viewers, and listeners to events.

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    problem::Problem,
    refusals::{Limit, Refusals},
};

/// The seats of the process for one kind of stream. Each costs a descriptor, which inputs and outputs need too.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    limit: Limit,
    full: &'static str,
}

/// Given back when it is dropped.
pub(super) type Seat = OwnedSemaphorePermit;

impl Seats {
    /// So many, and what is said when all are taken.
    pub(super) fn new(seats: usize, limit: Limit, full: &'static str) -> Self {
        Self { free: Arc::new(Semaphore::new(seats)), limit, full }
    }

    /// A seat, or the answer that there is none.
    pub(super) fn take(&self, refusals: &Refusals) -> Result<Seat, Problem> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            refusals.add(self.limit, &self.full);
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, self.full)
        })
    }
}
