use std::collections::BTreeMap;

use super::*;

fn census(connections: usize, per_address: usize, unauthenticated: usize) -> Arc<Census> {
    let limits = LimitsConfig {
        ingest_connections: connections,
        ingest_per_address: per_address,
        ingest_unauthenticated: unauthenticated,
        ..LimitsConfig::default()
    };
    Arc::new(Census::new(&limits))
}

type Entered = (Guest, CancellationToken);

fn enter(census: &Arc<Census>, address: &str) -> Option<Entered> {
    census.enter(SocketAddr::new(address.parse().unwrap(), 40_000))
}

fn stays((_, pushed_out): &Entered) -> bool {
    !pushed_out.is_cancelled()
}

fn counts(census: &Census) -> BTreeMap<&'static str, u64> {
    census.closed().filter(|(_, count)| *count > 0).map(|(cause, count)| (cause.name(), count)).collect()
}

/// Whatever happened, every connection is present or counted once, and nothing is remembered of the others.
fn balanced(census: &Census) {
    let (strangers, publishing) = census.present();
    assert_eq!((strangers + publishing) as u64 + counts(census).values().sum::<u64>(), census.total());
    let state = census.lock();
    assert_eq!(state.sources.values().map(|crowd| crowd.strangers.len()).sum::<usize>(), state.strangers);
    assert_eq!(state.sources.values().map(|crowd| crowd.connections).sum::<usize>(), state.connections);
}

#[test]
fn every_cause_has_its_place_and_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> = Closed::ALL.iter().map(|cause| cause.name()).collect();
    assert_eq!(words.len(), Closed::ALL.len());
    assert!(Closed::ALL.iter().enumerate().all(|(at, cause)| *cause as usize == at));
}

#[test]
fn one_address_pushes_out_its_own_oldest() {
    let census = census(100, 2, 100);
    let other = enter(&census, "10.0.0.9").unwrap();
    let crowd: Vec<_> = (0..4).map(|_| enter(&census, "10.0.0.1").unwrap()).collect();
    assert_eq!(crowd.iter().map(stays).collect::<Vec<_>>(), [false, false, true, true]);
    assert!(stays(&other));
    assert_eq!(census.present(), (3, 0));
    assert_eq!(counts(&census), BTreeMap::from([("ingest_per_address", 2)]));
    balanced(&census);
    drop((crowd, other));
    assert_eq!((census.present(), census.lock().sources.len()), ((0, 0), 0));
    assert_eq!(counts(&census), BTreeMap::from([("ingest_per_address", 2), ("stopped", 3)]));
    balanced(&census);
}

#[test]
fn an_address_of_publishers_has_no_room_left() {
    let census = census(100, 2, 100);
    let mut publishers = [enter(&census, "10.0.0.1").unwrap(), enter(&census, "10.0.0.1").unwrap()];
    publishers.iter_mut().for_each(|(guest, _)| guest.let_in());
    assert!(enter(&census, "10.0.0.1").is_none());
    assert!(publishers.iter().all(stays));
    assert!(enter(&census, "10.0.0.2").is_some(), "another address has its own");
    assert_eq!(counts(&census)["ingest_per_address"], 1);
    balanced(&census);
}

#[test]
fn too_many_strangers_cost_the_largest_crowd_its_oldest() {
    let census = census(100, 100, 4);
    let mut honest = enter(&census, "10.0.0.9").unwrap();
    let mut crowd: Vec<_> = (0..3).map(|_| enter(&census, "10.0.0.1").unwrap()).collect();
    crowd.extend((0..20).map(|_| enter(&census, "10.0.0.1").unwrap()));
    assert!(stays(&honest), "older than all of them, and alone at its address");
    assert_eq!(crowd.iter().filter(|one| stays(one)).count(), 3);
    assert!(crowd[20..].iter().all(stays), "the newest are there");
    honest.0.let_in();
    assert_eq!(census.present(), (3, 1));
    balanced(&census);
}

#[test]
fn of_crowds_of_one_size_the_oldest_member_goes() {
    let census = census(100, 100, 3);
    let scattered: Vec<_> = (1..=5).map(|n| enter(&census, &format!("10.0.0.{n}")).unwrap()).collect();
    assert_eq!(scattered.iter().map(stays).collect::<Vec<_>>(), [false, false, true, true, true]);
    balanced(&census);
}

#[test]
fn publishers_are_never_pushed_out() {
    let census = census(3, 100, 100);
    let mut publishers: Vec<_> = (1..=2).map(|n| enter(&census, &format!("10.0.0.{n}")).unwrap()).collect();
    publishers.iter_mut().for_each(|(guest, _)| guest.let_in());
    let first = enter(&census, "10.0.0.3").unwrap();
    let mut second = enter(&census, "10.0.0.4").unwrap();
    assert!(!stays(&first) && stays(&second));
    second.0.let_in();
    assert!(enter(&census, "10.0.0.5").is_none(), "nobody is left who could go");
    assert!(publishers.iter().all(stays));
    assert_eq!(counts(&census), BTreeMap::from([("ingest_connections", 2)]));
    balanced(&census);
}

#[test]
fn one_that_was_let_in_as_it_was_pushed_out_is_counted_again() {
    let census = census(100, 1, 100);
    let mut first = enter(&census, "10.0.0.1").unwrap();
    let second = enter(&census, "10.0.0.1").unwrap();
    first.0.let_in();
    assert_eq!(census.present(), (1, 1));
    balanced(&census);
    drop((first, second));
    assert_eq!(census.present(), (0, 0));
    balanced(&census);
}

#[test]
fn the_first_cause_counts_and_pushing_out_does_not_count_again() {
    let census = census(100, 1, 100);
    let mut refused = enter(&census, "10.0.0.1").unwrap();
    refused.0.closed(Closed::UnknownKey, &"");
    refused.0.closed(Closed::Left, &"");
    let next = enter(&census, "10.0.0.1").unwrap();
    assert!(!stays(&refused));
    drop((refused, next));
    assert_eq!(counts(&census), BTreeMap::from([("stopped", 1), ("unknown_key", 1)]));
    balanced(&census);
}

#[test]
fn a_failed_key_bars_its_address_whether_or_not_the_client_stays() {
    let census = census(100, 100, 100);
    let (now, delay) = (Instant::now(), Duration::from_secs(1));
    let (guesser, _) = enter(&census, "10.0.0.1").unwrap();
    assert_eq!(guesser.turn(), None);
    assert_eq!(guesser.failed(now, delay), now + delay);
    drop(guesser);
    let (next, _) = enter(&census, "10.0.0.1").unwrap();
    assert_eq!(next.turn(), Some(now + delay));
    // One that failed at the same moment with a shorter delay does not shorten it.
    next.failed(now, delay / 2);
    assert_eq!(next.turn(), Some(now + delay));
    let (other, _) = enter(&census, "10.0.0.2").unwrap();
    assert_eq!(other.turn(), None);
}

#[test]
fn ipv6_is_counted_by_network_and_mapped_ipv4_as_ipv4() {
    let census = census(100, 1, 100);
    let first = enter(&census, "2001:db8:0:1::1").unwrap();
    let neighbour = enter(&census, "2001:db8:0:1:ffff::2").unwrap();
    assert!(!stays(&first) && stays(&neighbour));
    let elsewhere = enter(&census, "2001:db8:0:2::1").unwrap();
    assert!(stays(&neighbour) && stays(&elsewhere));
    let plain = enter(&census, "10.0.0.1").unwrap();
    let mapped = enter(&census, "::ffff:10.0.0.1").unwrap();
    assert!(!stays(&plain) && stays(&mapped));
}

#[test]
fn addresses_that_are_barred_and_gone_are_forgotten_in_time() {
    let census = census(100, 100, 100);
    let long_ago = Instant::now() - Duration::from_secs(60);
    for n in 0..5_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let (guest, _) = enter(&census, &format!("10.{a}.{b}.{c}")).unwrap();
        // Barred for a moment that has passed when the next one comes, or for long: both happen.
        guest.failed(if n % 50 == 0 { Instant::now() } else { long_ago }, Duration::from_secs(30));
    }
    let remembered = census.lock().sources.len();
    assert!((100..600).contains(&remembered), "{remembered} addresses are remembered");
    balanced(&census);
}
