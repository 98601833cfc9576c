//! Relays that are fed what they send.

use super::*;

/// The relays of each warning about `relays`, behind listeners on every address of the machine.
fn warned(relays: &str) -> Vec<String> {
    warned_behind(["0.0.0.0:1935", "127.0.0.1:8080"], relays)
}

fn warned_behind([ingest, admin]: [&str; 2], relays: &str) -> Vec<String> {
    let text = format!("admin = {{ listen = \"{admin}\" }}\ningest = {{ listen = \"{ingest}\" }}\n{relays}");
    let warnings = parse(&text, &|_| None).unwrap().warnings();
    let told = |warning: String| {
        assert!(!warning.contains("secret"), "{warning}");
        let relays = warning.strip_prefix("folder/relay.toml: what relay ").expect("it names the file");
        let relays = relays.split(": ").next().unwrap().replace(" sends comes back to an input of its own", "");
        relays.replace(" by way of ", " > ").replace(", ", " > ")
    };
    warnings.into_iter().map(told).collect()
}

/// A relay that is pushed `live/NAME-secret`, and publishes where `outputs` say.
fn pushed(name: &str, outputs: &[&str]) -> String {
    let outputs = outputs.iter().enumerate().map(|(id, url)| format!("{{ id = \"{id}\", url = \"{url}\" }}"));
    format!(
        "[[relay]]\nname = \"{name}\"\ninput = [{{ name = \"in\", type = \"push\", key = \"live/{name}-secret\" }}]\n\
         output = [{}]\n",
        outputs.collect::<Vec<_>>().join(", ")
    )
}

/// A relay that pulls `url`.
fn pulled(name: &str, url: &str) -> String {
    format!("[[relay]]\nname = \"{name}\"\ninput = [{{ name = \"in\", url = \"{url}\" }}]\n")
}

const TO_A: &str = "rtmp://127.0.0.1/live/a-secret";
const TO_B: &str = "rtmp://127.0.0.1/live/b-secret";
const TO_C: &str = "rtmp://127.0.0.1/live/c-secret";

#[test]
fn a_chain_is_no_cycle() {
    let chain = [pushed("a", &[TO_B, TO_C]), pushed("b", &[TO_C.replace("127.0.0.1", "localhost").as_str()])];
    assert_eq!(warned(&(chain.concat() + &pushed("c", &["rtmp://platform/live/c-secret"]))), [""; 0]);
    assert_eq!(load("config/demo.toml").warnings(), [""; 0]);
}

#[test]
fn a_cycle_is_told_once() {
    assert_eq!(warned(&pushed("a", &[TO_A])), ["a"]);
    assert_eq!(warned(&(pushed("a", &[TO_B]) + &pushed("b", &[TO_A]))), ["a > b"]);
    let doubled = TO_B.replace("127.0.0.1", "localhost");
    assert_eq!(warned(&(pushed("a", &[TO_B, &doubled]) + &pushed("b", &[TO_A]))), ["a > b"]);
    let three = [pushed("c", &[TO_A]), pushed("b", &[TO_C]), pushed("a", &[TO_B])];
    assert_eq!(warned(&three.concat()), ["c > a > b"]);
    let two = [pushed("a", &[TO_A, TO_B]), pushed("b", &[TO_C]), pushed("c", &[&doubled])];
    assert_eq!(warned(&two.concat()), ["a", "b > c"]);
}

#[test]
fn a_few_of_many_are_told() {
    let relays: String =
        (0..12).map(|n| pushed(&format!("r{n}"), &[&format!("rtmp://localhost/live/r{n}-secret")])).collect();
    let text = format!("ingest = {{ listen = \"127.0.0.1:1935\" }}\n{relays}");
    let warnings = parse(&text, &|_| None).unwrap().warnings();
    assert_eq!(warnings.len(), 11);
    assert_eq!(warnings[10], "folder/relay.toml: 2 more relays or chains of them like these");
}

#[test]
fn what_is_watched_feeds_as_well() {
    assert_eq!(warned(&pulled("a", "http://localhost:8080/live/a.flv?token=secret")), ["a"]);
    assert_eq!(warned(&(pulled("b", "http://127.0.0.1:8080/live/a.flv") + &pushed("a", &[]))), [""; 0]);
    assert_eq!(
        warned(&(pulled("b", "http://127.0.0.1:8080/live/a.flv") + &pulled("a", "http://h/live/b.flv"))),
        [""; 0]
    );
    let item = "[[relay]]\nname = \"v\"\ninput = [{ name = \"in\", type = \"vod\", urls = [\"file:a\", \"http://127.0.0.1:8080/live/v.flv\"] }]\n";
    assert_eq!(warned(item), ["v"]);
    let mixed = pulled("b", "http://127.0.0.1:8080/live/a.flv")
        + "output = [{ id = \"1\", url = \"URL\" }]\n"
        + &pushed("a", &[]);
    assert_eq!(warned(&mixed.replace("URL", TO_A)), ["b > a"]);
}

#[test]
fn only_the_listeners_of_this_process_count() {
    let to = |server: &str| pushed("a", &[&format!("{server}/live/a-secret?sign=secret")]);
    for (listen, server, is_own) in [
        ("127.0.0.1:1935", "rtmp://127.0.0.1", true),
        ("127.0.0.1:1935", "rtmp://LOCALHOST:1935", true),
        ("127.0.0.1:1935", "rtmp://127.0.0.2", false),
        ("127.0.0.1:1935", "rtmp://127.0.0.1:1936", false),
        ("127.0.0.1:1935", "rtmps://127.0.0.1:1935", false),
        ("127.0.0.1:1935", "rtmp://name", false),
        ("127.0.0.1:0", "rtmp://127.0.0.1:1935", false),
        ("10.0.0.1:1935", "rtmp://10.0.0.1", true),
        ("10.0.0.1:1935", "rtmp://127.0.0.1", false),
        ("10.0.0.1:1935", "rtmp://localhost", false),
        ("[::]:1935", "rtmp://[::1]", true),
        ("[::]:1935", "rtmp://127.0.0.1", true),
        ("0.0.0.0:1935", "rtmp://10.0.0.1", false),
        ("0.0.0.0:1935", "rtmp://[::1]", false),
    ] {
        let told = warned_behind([listen, "127.0.0.1:8080"], &to(server));
        assert_eq!(!told.is_empty(), is_own, "{server} at {listen}: {told:?}");
    }
    let disabled = to("rtmp://127.0.0.1").replace("id = \"0\"", "id = \"0\", enabled = false");
    assert_eq!(warned(&disabled), [""; 0], "it does not publish");
}
