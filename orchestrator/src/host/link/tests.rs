use super::*;
use s2lab_protocol::{
    By, Decoder, Level, Manner, Notice,
    ask::{Memory, Release, Request, StopGuest, Store},
};
use serde_json::Value;
use tokio::io::AsyncReadExt;

/// The nonce of the host.
const NONCE: u64 = 42;
/// The nonce of the cell's guests.
const CELL: u64 = 43;
const SOON: Duration = Duration::from_secs(5);

fn frame(from: Peer, seq: u64, body: Body) -> Vec<u8> {
    let nonce = if from == Peer::Host { NONCE } else { CELL };
    encode(&Frame { version: VERSION, nonce, seq, from, to: Peer::Lab, body }).unwrap()
}

fn hello(from: Peer, seq: u64) -> Vec<u8> {
    let level = if from == Peer::Host { Level::Host } else { Level::Guest };
    let hello = Hello { level, release: "6.1".into(), page_size: 4096, uptime_ms: 1, taint: Some(0) };
    frame(from, seq, Body::Notice(Notice::Hello(hello)))
}

fn reply(from: Peer, seq: u64, id: u64) -> Vec<u8> {
    frame(from, seq, Body::Reply { id, result: Ok(Value::Null) })
}

fn stop() -> StopGuest {
    StopGuest { guest: "g0".into() }
}

fn store() -> Store {
    let (device, address, map) = ("nic".into(), "0000:00:10.0".into(), s2lab_protocol::MapKind::Wc);
    let (by, manner) = (By::Str, Manner::default());
    Store { device, address, map, width: 8, by, manner, bytes: 64, seed: 1 }
}

fn link() -> (Link, UnixStream, mpsc::Receiver<AgentNotice>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (heard, hearing) = mpsc::channel(16);
    let mut link = Link::start(ours, NONCE, heard, Ending::unknown());
    link.begin_cell(CELL, ["g0".to_owned()].into());
    (link, theirs, hearing)
}

async fn failure(bytes: Vec<u8>) -> String {
    let (mut link, mut agent, _hearing) = link();
    agent.write_all(&bytes).await.unwrap();
    link.hello(&Peer::Guest("g0".into()), SOON).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_reply_reaches_its_asker() {
    let (mut link, mut agent, _hearing) = link();
    let (answer, ()) = tokio::join!(link.ask_host(stop(), SOON), async {
        let mut request = [0; 4096];
        while agent.read(&mut request).await.unwrap() == 0 {}
        agent.write_all(&reply(Peer::Host, 0, 0)).await.unwrap();
    });
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(link.host_answered(), 1);
}

#[tokio::test]
async fn an_answer_to_something_else_is_refused() {
    let (mut link, mut agent, _hearing) = link();
    let (answer, ()) = tokio::join!(link.ask_host(Memory {}, SOON), async {
        let mut request = [0; 4096];
        while agent.read(&mut request).await.unwrap() == 0 {}
        agent.write_all(&reply(Peer::Host, 0, 0)).await.unwrap();
    });
    assert_eq!(
        answer.unwrap_err().to_string(),
        "host answers `read the map of its memory` with something else: null: invalid type: null, \
         expected struct HostMemory"
    );
}

/// Each cell begins with guests that nobody knows; the host's frames are counted on.
#[tokio::test]
async fn guests_of_an_earlier_cell_are_forgotten() {
    let (mut link, mut agent, _hearing) = link();
    let guest = || Peer::Guest("g0".into());
    agent.write_all(&[hello(Peer::Host, 0), hello(guest(), 0)].concat()).await.unwrap();
    link.hello(&guest(), SOON).await.unwrap();
    link.begin_cell(CELL + 1, ["g0".to_owned()].into());
    assert!(!link.is_up("g0"));
    let mut decoder = Decoder::default();
    decoder.push(&hello(guest(), 0));
    let again = Frame { nonce: CELL + 1, ..decoder.next_frame().unwrap().unwrap() };
    agent.write_all(&encode(&again).unwrap()).await.unwrap();
    link.hello(&guest(), SOON).await.unwrap();
    link.hello(&Peer::Host, SOON).await.unwrap();
    // A frame of the cell before ends the link.
    link.begin_cell(CELL + 2, ["g0".to_owned()].into());
    agent.write_all(&encode(&again).unwrap()).await.unwrap();
    let error = link.hello(&guest(), SOON).await.unwrap_err().to_string();
    assert!(error.contains("a frame of another cell"), "{error}");
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_link() {
    let bent = |change: fn(&mut Frame)| {
        let mut decoder = Decoder::default();
        decoder.push(&hello(Peer::Host, 0));
        let mut frame = decoder.next_frame().unwrap().unwrap();
        change(&mut frame);
        encode(&frame).unwrap()
    };
    let cases = [
        (bent(|f| f.version = 9), "speaks version 9"),
        (bent(|f| f.nonce = 1), "another cell"),
        (bent(|f| f.seq = 1), "frame 1 where 0 was due"),
        ([hello(Peer::Host, 0), hello(Peer::Host, 0)].concat(), "frame 0 where 1 was due"),
        (bent(|f| f.from = Peer::Lab), "from lab"),
        (bent(|f| f.to = Peer::Host), "to host"),
        (b"nonsense, not a frame".to_vec(), "no frame starts here"),
        (
            frame(
                Peer::Host,
                0,
                Body::Request { id: 0, request: Request::Guest(GuestRequest::Release(Release {})) },
            ),
            "sends a request",
        ),
        // A reply before its request cannot belong to it.
        (reply(Peer::Host, 0, 0), "answers request 0, which waits for no answer"),
        ([hello(Peer::Host, 0), hello(Peer::Host, 1)].concat(), "a second time"),
        (
            frame(
                Peer::Guest("g0".into()),
                0,
                Body::Notice(Notice::Console { guest: "g1".into(), hex: String::new() }),
            ),
            "speaks for the host",
        ),
        (
            frame(Peer::Host, 0, Body::Notice(Notice::Console { guest: "g0".into(), hex: "0é".into() })),
            "hexadecimal",
        ),
        (
            frame(Peer::Host, 0, Body::Notice(Notice::Console { guest: "g1".into(), hex: "00".into() })),
            "a guest \"g1\"",
        ),
        (hello(Peer::Guest("g1".into()), 0), "a guest \"g1\""),
    ];
    for (bytes, expected) in cases {
        let found = failure(bytes).await;
        assert!(found.contains(expected), "expected `{expected}`, found `{found}`");
    }
}

#[tokio::test]
async fn a_torn_frame_is_told_from_a_clean_end() {
    for (cut, expected) in [(5, "inside of a frame, after 5 bytes"), (0, "closed")] {
        let (mut link, mut agent, _hearing) = link();
        agent.write_all(&hello(Peer::Host, 0)[..cut]).await.unwrap();
        drop(agent);
        let found = link.hello(&Peer::Host, SOON).await.unwrap_err().to_string();
        assert!(found.contains(expected), "{found}");
    }
}

/// Runs a guest that must store, and sends a heartbeat every 50 ms with its stored bytes.
async fn storing(stored: fn(u64) -> u64) -> String {
    let (mut link, mut agent, mut hearing) = link();
    tokio::spawn(async move { while hearing.recv().await.is_some() {} });
    let patience = Patience { whole: Duration::from_millis(1500), idle: Some(Duration::from_millis(400)) };
    let beats = async {
        for seq in 0.. {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let beat = Notice::Heartbeat { uptime_ms: 1, stored: stored(seq) };
            agent.write_all(&frame(Peer::Guest("g0".into()), seq, Body::Notice(beat))).await.unwrap();
        }
    };
    tokio::select! {
        answer = link.ask_guest("g0", store(), patience) => answer.unwrap_err().to_string(),
        () = beats => unreachable!(),
    }
}

#[tokio::test]
async fn a_guest_that_does_not_get_on_is_told_from_a_slow_one() {
    let stuck = storing(|_| 7).await;
    assert_eq!(stuck, "guest g0 made no progress in `store` for 400ms; its agent is alive");
    assert_eq!(storing(|n| n).await, "guest g0 has not answered `store` in 1.5s");
}

#[tokio::test]
async fn the_end_of_a_guest_ends_what_waits_for_it() {
    let (mut link, mut agent, _hearing) = link();
    let how = GuestEnd::Stopped { state: "internal-error".into(), detail: "Bad address".into() };
    agent
        .write_all(&frame(Peer::Host, 0, Body::Notice(Notice::GuestEnded { guest: "g0".into(), how })))
        .await
        .unwrap();
    let found = link.ask_guest("g0", Release {}, SOON).await.unwrap_err();
    assert_eq!(
        found.to_string(),
        "guest g0 ended during `release`: its VMM stopped it (internal-error): Bad address"
    );
}

/// Nobody takes the agent's other frames until the deadline has passed.
#[tokio::test]
async fn what_lies_in_the_socket_is_read_before_a_deadline_counts() {
    let (mut link, mut agent, mut hearing) = link();
    let short = Duration::from_millis(100);
    let said = |seq| frame(Peer::Host, seq, Body::Notice(Notice::Log { text: "a word".into() }));
    let (answer, ()) = tokio::join!(link.ask_host(stop(), short), async {
        let mut request = [0; 4096];
        while agent.read(&mut request).await.unwrap() == 0 {}
        for seq in 0..20 {
            agent.write_all(&said(seq)).await.unwrap();
        }
        agent.write_all(&reply(Peer::Host, 20, 0)).await.unwrap();
        sleep(5 * short).await;
        while hearing.try_recv().is_ok() {}
    });
    assert!(answer.is_ok(), "{answer:?}");
    let late = link.ask_host(stop(), short).await.unwrap_err();
    assert_eq!(late.to_string(), "host has not answered `stop a guest` in 100ms");
}

/// Reads the requests to the agent until there are `count` of them, and returns their numbers.
async fn requests(agent: &mut UnixStream, count: usize) -> Vec<u64> {
    let (mut decoder, mut ids, mut buffer) = (Decoder::default(), vec![], [0; 4096]);
    while ids.len() < count {
        let n = agent.read(&mut buffer).await.unwrap();
        decoder.push(&buffer[..n]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            match frame.body {
                Body::Request { id, .. } => ids.push(id),
                other => panic!("{other:?}"),
            }
        }
    }
    ids
}

/// A guest that a person has stopped answers when it goes on. The link goes on too.
#[tokio::test]
async fn a_guest_is_busy_until_its_late_answer() {
    let (mut link, mut agent, _hearing) = link();
    let guest = Peer::Guest("g0".into());
    let silent = link.ask_guest("g0", Release {}, Duration::from_millis(50)).await;
    assert!(matches!(silent, Err(LinkError::Silent { .. })), "{silent:?}");
    assert_eq!(link.unanswered("g0"), Some(Release::DOING));
    assert_eq!(link.unanswered("g1"), None);
    agent.write_all(&reply(guest, 0, 0)).await.unwrap();
    let (answer, ()) = tokio::join!(link.ask_host(stop(), SOON), async {
        assert_eq!(requests(&mut agent, 2).await, [0, 1]);
        agent.write_all(&reply(Peer::Host, 0, 1)).await.unwrap();
    });
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(link.unanswered("g0"), None);
}

/// The host's final record counts it.
#[tokio::test]
async fn a_late_answer_of_the_host_counts() {
    let (mut link, mut agent, _hearing) = link();
    link.ask_host(stop(), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(link.host_answered(), 0);
    agent.write_all(&[reply(Peer::Host, 0, 0), hello(Peer::Host, 1)].concat()).await.unwrap();
    link.hello(&Peer::Host, SOON).await.unwrap();
    assert_eq!(link.host_answered(), 1);
}

#[tokio::test]
async fn the_newest_request_for_a_look_counts() {
    let (mut link, mut agent, _hearing) = link();
    let request = |seq, id, guest: Option<&str>| {
        let guest = guest.map(str::to_owned);
        frame(Peer::Host, seq, Body::Notice(Notice::LookRequested { id, guest }))
    };
    agent.write_all(&[request(0, 3, None), request(1, 4, Some("g0"))].concat()).await.unwrap();
    agent.write_all(&hello(Peer::Host, 2)).await.unwrap();
    link.hello(&Peer::Host, SOON).await.unwrap();
    let mut requests = link.look_requests();
    assert_eq!(requests.next().await, LookRequest { id: 4, guest: Some("g0".into()) });
    let none = timeout(Duration::from_millis(50), requests.next()).await;
    assert!(none.is_err(), "{none:?}");
    agent.write_all(&request(3, 5, None)).await.unwrap();
    assert_eq!(requests.next().await, LookRequest { id: 5, guest: None });
}

/// The nonce of a host that goes on.
const NEXT: u64 = 44;

fn beat(from: Peer, nonce: u64, seq: u64) -> Vec<u8> {
    let body = Body::Notice(Notice::Heartbeat { uptime_ms: 1, stored: 0 });
    encode(&Frame { version: VERSION, nonce, seq, from, to: Peer::Lab, body }).unwrap()
}

/// Returns the state of a link on which host and guest have said hello and the host has answered a request.
async fn saved() -> SavedLink {
    let (mut link, mut agent, _hearing) = link();
    agent.write_all(&[hello(Peer::Host, 0), hello(Peer::Guest("g0".into()), 0)].concat()).await.unwrap();
    link.hello(&Peer::Guest("g0".into()), SOON).await.unwrap();
    let (answer, ()) = tokio::join!(link.ask_host(stop(), SOON), async {
        requests(&mut agent, 1).await;
        agent.write_all(&reply(Peer::Host, 1, 0)).await.unwrap();
    });
    answer.unwrap();
    link.saved().unwrap()
}

/// Goes on with an agent that sends `bytes` after it has the request.
async fn resumed(bytes: Vec<u8>, beat: Duration) -> Result<Link, LinkError> {
    let saved = saved().await;
    let (ours, mut agent) = UnixStream::pair().unwrap();
    let (heard, _hearing) = mpsc::channel(16);
    let patience = ResumePatience { answer: SOON, heartbeat: beat };
    let (link, ()) =
        tokio::join!(Link::resume(ours, &saved, NEXT, heard, Ending::unknown(), patience), async {
            assert_eq!(requests(&mut agent, 1).await, [1], "the numbers of requests go on");
            agent.write_all(&bytes).await.unwrap();
            // The channel stays open until the link is there or has failed.
            sleep(2 * beat).await;
        });
    link
}

#[tokio::test]
async fn a_host_goes_on_with_another_nonce_and_is_believed_after_a_heartbeat() {
    let anew = |seq, body| {
        let (from, to) = (Peer::Host, Peer::Lab);
        encode(&Frame { version: VERSION, nonce: NEXT, seq, from, to, body }).unwrap()
    };
    let greeting =
        Hello { level: Level::Host, release: "6.1".into(), page_size: 4096, uptime_ms: 1, taint: None };
    let begins = [
        // Both were under way before the request came.
        beat(Peer::Host, NONCE, 2),
        beat(Peer::Guest("g0".into()), CELL, 1),
        anew(0, Body::Notice(Notice::Hello(greeting))),
        anew(1, Body::Reply { id: 1, result: Ok(Value::Null) }),
    ];
    let short = Duration::from_millis(200);
    let silent = resumed(begins.concat(), short).await.err().unwrap();
    assert_eq!(silent.to_string(), "host has not answered `heartbeat` in 200ms");
    let beating = [begins.concat(), beat(Peer::Host, NEXT, 2)].concat();
    let link = resumed(beating, short).await.unwrap();
    assert_eq!(link.host_answered(), 1, "answers are counted anew");
    assert!(link.is_up("g0"));
    let late = [begins.concat(), beat(Peer::Host, NONCE, 3)].concat();
    let old = resumed(late, short).await.err().unwrap();
    assert!(old.to_string().contains("a frame of another cell"), "{old}");
}

#[tokio::test]
async fn a_link_is_not_saved_within_a_frame() {
    let (mut link, mut agent, _hearing) = link();
    let (first, second) = (hello(Peer::Host, 0), hello(Peer::Guest("g0".into()), 0));
    agent.write_all(&[&first[..], &second[..9]].concat()).await.unwrap();
    link.hello(&Peer::Host, SOON).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(link.saved(), None);
    agent.write_all(&second[9..]).await.unwrap();
    link.hello(&Peer::Guest("g0".into()), SOON).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert!(link.saved().is_some());
}
