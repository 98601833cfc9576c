//! Places for connections: so many in all, and so many for one address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::refusals::Limit;
use crate::{address_block::AddressBlock, config::LimitsConfig};

/// The connections of all listeners that the HTTP side has and had.
#[derive(Debug)]
pub(super) struct Places {
    connections: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    connections: usize,
    /// Addresses without a connection are not remembered.
    by_address: HashMap<AddressBlock, usize>,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    block: AddressBlock,
}

impl Places {
    /// All free.
    pub(super) fn new(limits: &LimitsConfig) -> Self {
        let (connections, per_address) = (limits.admin_connections, limits.admin_per_address);
        Self { connections, per_address, taken: Mutex::default() }
    }

    /// A place for a connection from this address, or the limit that leaves none.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Limit> {
        let block = AddressBlock::of(address);
        let mut taken = self.lock();
        if taken.connections >= self.connections {
            return Err(Limit::Connections);
        }
        if taken.by_address.get(&block).is_some_and(|&connections| connections >= self.per_address) {
            return Err(Limit::PerAddress);
        }
        taken.connections += 1;
        *taken.by_address.entry(block).or_default() += 1;
        Ok(Place { places: Arc::clone(self), block })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.connections -= 1;
        if let Some(connections) = taken.by_address.get_mut(&self.block) {
            *connections -= 1;
            if *connections == 0 {
                taken.by_address.remove(&self.block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_address: usize) -> Arc<Places> {
        let (admin_connections, admin_per_address) = (connections, per_address);
        let limits = LimitsConfig { admin_connections, admin_per_address, ..LimitsConfig::default() };
        Arc::new(Places::new(&limits))
    }

    #[test]
    fn one_address_leaves_room_for_the_others() {
        let places = places(5, 2);
        let take = |address: &str| places.take(address.parse().unwrap());
        let first = take("10.0.0.1").unwrap();
        let second = take("::ffff:10.0.0.1").unwrap();
        assert_eq!(take("10.0.0.1").unwrap_err(), Limit::PerAddress);
        let third = take("2001:db8::1").unwrap();
        let fourth = take("2001:db8::ffff:2").unwrap();
        assert_eq!(take("2001:db8::3").unwrap_err(), Limit::PerAddress, "one network of 64 bits");
        let fifth = take("10.0.0.2").unwrap();
        assert_eq!(take("10.0.0.3").unwrap_err(), Limit::Connections);
        drop(first);
        let again = take("10.0.0.1").unwrap();
        drop((second, third, fourth, fifth, again));
        let taken = places.lock();
        assert_eq!((taken.connections, taken.by_address.len()), (0, 0), "nothing is remembered");
    }

    #[test]
    fn one_address_may_be_given_all() {
        let places = places(2, 2);
        let held: Vec<_> = (0..2).map(|_| places.take(IpAddr::from([127, 0, 0, 1])).unwrap()).collect();
        assert_eq!(places.take(IpAddr::from([127, 0, 0, 2])).unwrap_err(), Limit::Connections);
        drop(held);
    }
}
