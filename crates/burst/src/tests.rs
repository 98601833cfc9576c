use std::{
    io::{ErrorKind, Read},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
};

use super::*;
#[cfg(target_os = "linux")]
use crate::ring::Trouble;

/// Every test runs both ways; where the kernel has no io_uring the first is the second.
fn both(test: impl Fn(Burst)) {
    test(Burst::new(8));
    test(Burst::one_by_one());
}

/// Our end and the peer's.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let ours = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    (ours, listener.accept().expect("accept").0)
}

fn send(burst: &mut Burst, sockets: &[&TcpStream], slices: &[Bytes]) -> Vec<io::Result<usize>> {
    let sockets: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
    burst.send(&sockets, slices).collect()
}

fn slices(lens: &[usize]) -> Vec<Bytes> {
    lens.iter().enumerate().map(|(number, &len)| Bytes::from(vec![number as u8 + 1; len])).collect()
}

#[test]
fn every_socket_gets_all_slices_in_order() {
    both(|mut burst| {
        // More than fit into one call.
        let pairs: Vec<_> = (0..21).map(|_| connection()).collect();
        let ours: Vec<_> = pairs.iter().map(|pair| &pair.0).collect();
        let slices = slices(&[13, 4_096, 0, 700]);
        for _ in 0..3 {
            for sent in send(&mut burst, &ours, &slices) {
                assert_eq!(sent.expect("sent"), 4_809);
            }
        }
        for (_, peer) in &pairs {
            let mut peer = peer;
            let mut received = vec![0; 3 * 4_809];
            peer.read_exact(&mut received).expect("read");
            assert_eq!(received, slices.concat().repeat(3));
        }
    });
}

#[test]
fn a_full_socket_takes_a_part_then_nothing_and_the_others_all() {
    both(|mut burst| {
        let (full, mut full_peer) = connection();
        let (free, mut free_peer) = connection();
        let slices = slices(&[100_000, 100_000]);
        let mut taken = Vec::new();
        let end = loop {
            let results = send(&mut burst, &[&full, &free], &slices);
            let mut received = vec![0; 200_000];
            free_peer.read_exact(&mut received).expect("read");
            assert_eq!(received, slices.concat());
            match results.into_iter().next().expect("two results") {
                Ok(sent) => taken.push(sent),
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind(), ErrorKind::WouldBlock);
        assert!(taken.iter().any(|&sent| sent > 0));
        full.shutdown(Shutdown::Write).expect("shutdown");
        let mut received = Vec::new();
        full_peer.read_to_end(&mut received).expect("read");
        // What it took each time is the beginning of what was to be sent.
        let expected: Vec<_> = taken.iter().flat_map(|&sent| slices.concat()[..sent].to_vec()).collect();
        assert_eq!(received, expected);
    });
}

#[test]
fn a_peer_that_is_gone_is_an_error_of_its_own_and_no_signal() {
    both(|mut burst| {
        let (gone, peer) = connection();
        let (good, mut good_peer) = connection();
        drop(peer);
        let slices = slices(&[10]);
        let mut rounds = 0;
        let error = loop {
            rounds += 1;
            match send(&mut burst, &[&gone, &good], &slices).remove(0) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        drop(good);
        let mut received = Vec::new();
        good_peer.read_to_end(&mut received).expect("read");
        assert_eq!(received.len(), 10 * rounds);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_kernel_that_refuses_in_the_middle_costs_nobody_a_byte() {
    for refuses_in in 0..3 {
        let mut burst = Burst::new(8);
        let pairs: Vec<_> = (0..21).map(|_| connection()).collect();
        let ours: Vec<_> = pairs.iter().map(|pair| &pair.0).collect();
        let slices = slices(&[5_000, 3_000]);
        if let Ok(mut ring) = Ring::new(8) {
            ring.trouble = Some(Trouble::Refuses(refuses_in));
            burst.calls = Calls::Shared(Box::new(ring));
        }
        for _ in 0..2 {
            for sent in send(&mut burst, &ours, &slices) {
                assert_eq!(sent.expect("sent"), 8_000);
            }
        }
        assert!(matches!(burst.calls, Calls::OneByOne));
        assert!(burst.take_trouble().is_some());
        for (ours, peer) in &pairs {
            let (mut received, mut peer) = (Vec::new(), peer);
            ours.shutdown(Shutdown::Write).expect("shutdown");
            peer.read_to_end(&mut received).expect("read");
            assert_eq!(received, slices.concat().repeat(2));
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn who_is_left_in_doubt_gets_an_error_and_the_others_all() {
    let Ok(mut ring) = Ring::new(8) else { return };
    ring.trouble = Some(Trouble::LosesTrack);
    let mut burst = Burst::new(8);
    burst.calls = Calls::Shared(Box::new(ring));
    let pairs: Vec<_> = (0..12).map(|_| connection()).collect();
    let ours: Vec<_> = pairs.iter().map(|pair| &pair.0).collect();
    let slices = slices(&[5_000]);
    let sent = send(&mut burst, &ours, &slices);
    assert!(sent[..8].iter().all(Result::is_err), "{sent:?}");
    assert!(sent[8..].iter().all(|sent| matches!(sent, Ok(5_000))), "{sent:?}");
    assert!(matches!(burst.calls, Calls::OneByOne));
    for (ours, peer) in &pairs {
        let (mut received, mut peer) = (Vec::new(), peer);
        ours.shutdown(Shutdown::Write).expect("shutdown");
        peer.read_to_end(&mut received).expect("read");
        assert_eq!(received, slices.concat(), "once, whatever was told");
    }
    // The kernel may still read what it has not told the end of.
    assert!(!slices[0].is_unique());
}

#[test]
fn nothing_to_send_to_and_nothing_to_send_are_fine() {
    both(|mut burst| {
        assert!(send(&mut burst, &[], &slices(&[10])).is_empty());
        let (a, _peer) = connection();
        let (b, _peer) = connection();
        let sent = send(&mut burst, &[&a, &b], &[]);
        assert!(sent.into_iter().all(|sent| sent.expect("sent") == 0));
    });
}
