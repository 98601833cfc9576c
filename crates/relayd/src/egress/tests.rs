use std::{fs, os::unix::fs::symlink};

use super::*;

fn policy(allow: &[&str], loopback_is_denied: bool) -> EgressPolicy {
    let allow = allow.iter().map(|text| Cidr::parse(text).unwrap()).collect();
    EgressPolicy::new(&NetworkConfig { allow, vod_dir: None }, loopback_is_denied)
}

fn kind(policy: &EgressPolicy, address: &str) -> Option<&'static str> {
    match policy.check(address.parse().unwrap()) {
        Ok(()) => None,
        Err(EgressError::Address { kind, .. }) => Some(kind),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn link_local_and_metadata_addresses_are_always_refused() {
    for loopback_is_denied in [false, true] {
        let policy = policy(&[], loopback_is_denied);
        for (address, refused) in [
            ("169.254.0.1", LINK_LOCAL),
            ("169.254.255.255", LINK_LOCAL),
            ("169.254.169.254", LINK_LOCAL),
            ("fe80::1", LINK_LOCAL),
            ("febf::1", LINK_LOCAL),
            ("fe80::a9fe:a9fe", LINK_LOCAL),
            ("100.100.100.200", METADATA),
            ("168.63.129.16", METADATA),
            ("192.0.0.192", METADATA),
            ("fd00:ec2::254", METADATA),
            ("fd00:ec2::23", METADATA),
            ("fd20:ce::254", METADATA),
            ("0.0.0.0", NOBODY),
            ("0.1.2.3", NOBODY),
            ("::", NOBODY),
            ("224.0.0.1", NOBODY),
            ("239.255.255.255", NOBODY),
            ("240.0.0.1", NOBODY),
            ("255.255.255.255", NOBODY),
            ("ff02::1", NOBODY),
            // The same in other clothes.
            ("::ffff:169.254.169.254", LINK_LOCAL),
            ("::169.254.169.254", LINK_LOCAL),
            ("::ffff:0:169.254.169.254", LINK_LOCAL),
            ("64:ff9b::169.254.169.254", LINK_LOCAL),
            ("64:ff9b::6464:64c8", METADATA),
            ("64:ff9b:1::169.254.169.254", LINK_LOCAL),
            ("64:ff9b:1:a9fe:a9:fe00::", LINK_LOCAL),
            ("2002:a9fe:a9fe::1", LINK_LOCAL),
            ("2001:0:a9fe:a9fe::1", LINK_LOCAL),
            ("2001:0:102:304:0:0:5601:5601", LINK_LOCAL),
            ("2001:db8::5efe:169.254.169.254", LINK_LOCAL),
            ("2001:db8::200:5efe:100.100.100.200", METADATA),
            ("::ffff:0.0.0.0", NOBODY),
        ] {
            assert_eq!(kind(&policy, address), Some(refused), "{address}");
        }
    }
}

#[test]
fn loopback_is_refused_when_the_api_is_open_to_other_machines() {
    for address in [
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::",
        "2001:0:102:304:0:0:80ff:fffe",
    ] {
        assert_eq!(kind(&policy(&[], true), address), Some(LOOPBACK), "{address}");
        assert_eq!(kind(&policy(&[], false), address), None, "{address}");
    }
}

#[test]
fn everything_else_may_be_reached() {
    for address in [
        "8.8.8.8",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.201",
        "169.253.255.255",
        "169.255.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "192.0.2.1",
        "198.51.100.7",
        "203.0.113.9",
        "198.18.0.1",
        "2001:4860:4860::8888",
        "fd12:3456::1",
        "fec0::1",
        "2001:db8::1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:808:8:800::",
        "2002:808:808::1",
        "::ffff:10.0.0.1",
    ] {
        assert_eq!(kind(&policy(&[], true), address), None, "{address}");
    }
}

#[test]
fn an_entry_opens_what_it_names_and_no_more() {
    for (entry, opened, still_refused) in [
        ("127.0.0.1", &["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"][..], &["127.0.0.2", "::1"][..]),
        ("127.0.0.0/8", &["127.0.0.1", "127.1.2.3"], &["::1", "169.254.1.1"]),
        ("::1", &["::1"], &["127.0.0.1"]),
        ("169.254.0.0/16", &["169.254.1.1"], &["169.254.169.254", "169.254.170.2", "169.254.0.23", "fe80::1"]),
        ("169.254.169.0/24", &["169.254.169.1"], &["169.254.169.254", "169.254.1.1"]),
        ("169.254.169.254", &["169.254.169.254", "2002:a9fe:a9fe::1"], &["169.254.169.253"]),
        ("fe80::/10", &["fe80::1"], &["169.254.1.1"]),
        ("100.64.0.0/10", &["100.64.0.1"], &["100.100.100.200"]),
        ("100.100.100.200/32", &["100.100.100.200"], &["127.0.0.1"]),
        ("fd00::/8", &["fd00::1"], &["fd00:ec2::254"]),
        ("fd00:ec2::254", &["fd00:ec2::254"], &["fd00:ec2::23"]),
        ("0.0.0.0/0", &["8.8.8.8"], &["127.0.0.1", "169.254.1.1", "169.254.169.254", "0.0.0.0"]),
        ("::/0", &["2001:db8::1"], &["::1", "fe80::1", "127.0.0.1"]),
    ] {
        let policy = policy(&[entry], true);
        for address in opened {
            assert_eq!(kind(&policy, address), None, "{entry}: {address}");
        }
        for address in still_refused {
            assert!(kind(&policy, address).is_some(), "{entry}: {address}");
        }
    }
}

#[test]
fn of_a_names_addresses_those_that_may_be_reached_are_left() {
    let addresses = |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|text| text.parse().unwrap()).collect() };
    let policy = Arc::new(policy(&[], true));
    let trusted = Egress::of(Origin::File, &policy);
    let policy = Egress::of(Origin::Api, &policy);
    let mixed = addresses(&["127.0.0.1:80", "192.0.2.1:80", "[::1]:80", "[2001:db8::1]:80"]);
    assert_eq!(policy.pass(mixed), Ok(addresses(&["192.0.2.1:80", "[2001:db8::1]:80"])));
    assert_eq!(policy.pass(Vec::new()), Ok(Vec::new()));
    let error = policy.pass(addresses(&["[::1]:80", "127.0.0.1:80"])).unwrap_err();
    assert_eq!(error, EgressError::Address { address: Ipv4Addr::LOCALHOST.into(), kind: LOOPBACK });
    assert!(matches!(trusted.pass(addresses(&["127.0.0.1:80"])), Ok(passed) if passed.len() == 1));
}

#[test]
fn files_lie_below_the_folder_wherever_links_lead() {
    let base = testkit::TempDir::new();
    let at = |path: &str| base.path().join(path);
    for folder in ["vod/sub", "elsewhere", "vod-other"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for file in ["vod/a.flv", "vod/sub/b.flv", "elsewhere/secret", "vod-other/c.flv"] {
        fs::write(at(file), "FLV").unwrap();
    }
    symlink(at("elsewhere/secret"), at("vod/out.flv")).unwrap();
    symlink(at("elsewhere"), at("vod/away")).unwrap();
    symlink("sub/b.flv", at("vod/in.flv")).unwrap();
    symlink(at("vod"), at("link-to-vod")).unwrap();

    for vod_dir in [at("vod"), at("link-to-vod")] {
        let policy = EgressPolicy::new(&NetworkConfig { allow: Vec::new(), vod_dir: Some(vod_dir.clone()) }, true);
        let real = at("vod").canonicalize().unwrap();
        for (path, found) in [
            (PathBuf::from("a.flv"), "a.flv"),
            (PathBuf::from("./sub/b.flv"), "sub/b.flv"),
            (PathBuf::from("in.flv"), "sub/b.flv"),
            (vod_dir.join("a.flv"), "a.flv"),
            (real.join("a.flv"), "a.flv"),
        ] {
            assert_eq!(policy.rules().file(&path), Ok(real.join(found)), "{}", path.display());
            assert!(policy.open(&path).is_ok(), "{}", path.display());
        }
        for path in ["out.flv", "away/secret", "../elsewhere/secret", "sub/../a.flv", "/etc/passwd", "/nonexistent"] {
            assert_eq!(policy.rules().file(Path::new(path)), Err(EgressError::Outside), "{path}");
            assert_eq!(policy.open(Path::new(path)).unwrap_err(), EgressError::Outside, "{path}");
        }
        assert_eq!(policy.rules().file(&at("vod-other/c.flv")), Err(EgressError::Outside));
        assert_eq!(policy.rules().file(Path::new("none.flv")), Err(EgressError::File(io::ErrorKind::NotFound)));
        assert_eq!(policy.rules().file(Path::new("sub")), Err(EgressError::File(io::ErrorKind::InvalidInput)));
    }
    assert_eq!(policy(&[], true).rules().file(Path::new("a.flv")), Err(EgressError::NoFolder));
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let (folder, policy) = (testkit::TempDir::new(), Arc::new(policy(&[], true)));
    let file = folder.write("a.flv", "FLV");
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let trusted = Egress::of(Origin::File, &policy);
    assert!(trusted.open(&file).is_ok());
    for path in [&pipe, folder.path(), Path::new("/dev/zero"), Path::new("/dev/tty")] {
        assert_eq!(trusted.open(path).unwrap_err().to_string(), "it is no regular file", "{}", path.display());
    }
    // A pipe that has taken a file's place after the look at it.
    assert!(open_without_waiting(&pipe).is_ok());
    let of_api = Egress::of(Origin::Api, &policy).open(&file).unwrap_err();
    assert!(matches!(of_api, OpenError::Refused(EgressError::NoFolder)), "{of_api}");
}

/// What a path led to when it was looked at may be another file when it is opened.
#[test]
fn what_has_been_opened_is_judged_by_where_it_lies() {
    let base = testkit::TempDir::new();
    let at = |path: &str| base.path().join(path);
    for folder in ["vod", "vod-other"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for file in ["vod/a.flv", "vod-other/b.flv"] {
        fs::write(at(file), "FLV").unwrap();
    }
    symlink(at("vod-other"), at("vod/away")).unwrap();
    let network = NetworkConfig { allow: Vec::new(), vod_dir: Some(at("vod")) };
    let rules = Rules::new(&network, true);
    let judge = |path: &str| rules.check_opened(&File::open(at(path)).unwrap());
    assert_eq!(judge("vod/a.flv"), Ok(()));
    assert_eq!(judge("vod/away/b.flv"), Err(EgressError::Outside));
    assert_eq!(judge("vod-other/b.flv"), Err(EgressError::Outside));
    assert_eq!(judge("vod"), Err(EgressError::File(io::ErrorKind::InvalidInput)));
    let opened = File::open(at("vod/a.flv")).unwrap();
    fs::rename(at("vod/a.flv"), at("vod-other/c.flv")).unwrap();
    assert_eq!(rules.check_opened(&opened), Err(EgressError::Outside));
}
