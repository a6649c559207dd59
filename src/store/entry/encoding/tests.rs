//! The serialised form: round trips, frozen bytes, and refusals.

use proptest::prelude::*;

use super::*;

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    bytes
}

fn name(name: &str) -> PeerName {
    PeerName::parse(name).unwrap()
}

fn post() -> Box<Post> {
    Box::new(Post { row: 3, sender: Some(b"backup".to_vec()), recipients: None, text: Some(vec![0xff, 0]) })
}

/// One entry of every kind, and its bytes. They are frozen: a database or a log elsewhere may contain them.
fn frozen() -> Vec<(Entry, &'static [u8])> {
    vec![
        (
            Entry::Peer(PeerRecord { id: PeerId::new(7), name: name("zoë"), seen: true, cursor: Seq::new(300) }),
            b"\x01\x01\x0e\x08zo\xc3\xab\x01\xd8\x04",
        ),
        (
            Entry::Room { id: RoomId::new(2), name: Room::parse("#home").unwrap(), creator: None },
            b"\x01\x02\x04\x0a#home",
        ),
        (
            Entry::Room { id: RoomId::new(2), name: Room::parse("#home").unwrap(), creator: Some(PeerId::new(64)) },
            b"\x01\x11\x04\x0a#home\x80\x01",
        ),
        (Entry::RemoveRoom { room: RoomId::new(64) }, b"\x01\x12\x80\x01"),
        (Entry::Ran { seconds: 64 }, b"\x01\x13\x80\x01"),
        (
            Entry::Source { peer: PeerId::new(64), source: Source::of([192, 0, 2, 7].into()) },
            b"\x01\x10\x80\x01\x12192.0.2.7",
        ),
        (
            Entry::Account {
                peer: PeerId::new(64),
                password: Some(PasswordHash::new("$argon2id$x")),
                at: Timestamp::from_millis(1),
            },
            b"\x01\x17\x80\x01\x01\x16$argon2id$x\x02",
        ),
        (Entry::Join { room: RoomId::new(2), peer: PeerId::new(64) }, b"\x01\x03\x04\x80\x01"),
        (Entry::Leave { room: RoomId::new(2), peer: PeerId::new(63) }, b"\x01\x04\x04\x7e"),
        (
            Entry::Message {
                at: Timestamp::from_millis(1_700_000_000_000),
                sender: PeerId::new(1),
                recipients: vec![Recipient::Peer(PeerId::new(2)), Recipient::Room(RoomId::new(2))],
                text: Text::verbatim("tea\n4 pm").unwrap(),
                id: None,
            },
            b"\x01\x05\x80\xa0\xab\xfe\xf9\x62\x02\x04\x04\x03\x10tea\n4 pm\x00",
        ),
        (
            Entry::Message {
                at: Timestamp::from_millis(-1),
                sender: PeerId::new(1),
                recipients: Vec::new(),
                text: Text::verbatim("x").unwrap(),
                id: Some(Box::new(SendId { id: RequestId::parse("a1").unwrap(), fingerprint: -2 })),
            },
            b"\x01\x05\x01\x02\x00\x02x\x01\x04a1\xfe\xff\xff\xff\xff\xff\xff\xff",
        ),
        (Entry::OutboxSent(post()), b"\x01\x06\x06\x01\x0cbackup\x00\x01\x04\xff\x00"),
        (
            Entry::OutboxRefused { post: post(), at: Timestamp::from_millis(0), reason: "no".to_owned() },
            b"\x01\x07\x06\x01\x0cbackup\x00\x01\x04\xff\x00\x00\x04no",
        ),
        (
            Entry::Observe {
                observer: PeerId::new(5),
                wants: EventFilter { logged: true, join: false, leave: true, delivered: false },
            },
            b"\x01\x08\x0a\x01\x00\x01\x00",
        ),
        (
            Entry::ObserverAdvanced {
                observer: PeerId::new(5),
                seen: ObserverCursor { seq: Seq::new(9), event: i64::MAX },
            },
            b"\x01\x09\x0a\x12\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ),
        (Entry::RetainObservers { only: vec![name("bot"), name("log")] }, b"\x01\x0a\x04\x06bot\x06log"),
        (
            Entry::Event(PeerEvent { at: Timestamp::from_millis(1), kind: EventKind::Join, peer: PeerId::new(3) }),
            b"\x01\x0b\x02\x06\x01",
        ),
        (
            Entry::Event(PeerEvent { at: Timestamp::from_millis(1), kind: EventKind::Leave, peer: PeerId::new(3) }),
            b"\x01\x0b\x02\x06\x02",
        ),
        (
            Entry::Event(PeerEvent {
                at: Timestamp::from_millis(1),
                kind: EventKind::Delivered(Seq::new(8)),
                peer: PeerId::new(3),
            }),
            b"\x01\x0b\x02\x06\x03\x10",
        ),
        (
            Entry::Value { peer: PeerId::new(3), key: "k".to_owned(), value: Some("[1]".to_owned()) },
            b"\x01\x0c\x06\x02k\x01\x06[1]",
        ),
        (Entry::Value { peer: PeerId::new(3), key: String::new(), value: None }, b"\x01\x0c\x06\x00\x00"),
        (Entry::Topic { room: RoomId::new(2), topic: Text::clean("tea") }, b"\x01\x0d\x04\x01\x06tea"),
        (Entry::Topic { room: RoomId::new(2), topic: None }, b"\x01\x0d\x04\x00"),
        (
            Entry::Remove {
                ranges: vec![
                    SeqRange { first: Seq::new(1), last: Seq::new(100) },
                    SeqRange { first: Seq::new(102), last: Seq::new(102) },
                ],
            },
            b"\x01\x0e\x04\x02\xc8\x01\xcc\x01\xcc\x01",
        ),
        (Entry::Floor { room: RoomId::new(2), floor: Seq::new(100) }, b"\x01\x0f\x04\xc8\x01"),
        (
            Entry::BeginPurge { request: 1, name: "#old".to_owned(), target: Recipient::numbered(-7) },
            b"\x01\x14\x02\x08#old\x0d",
        ),
        (Entry::ContinuePurge, b"\x01\x15"),
        (Entry::RefusePurge { request: 3, reason: "no bob".to_owned() }, b"\x01\x16\x06\x0cno bob"),
    ]
}

#[test]
fn every_kind_of_entry_keeps_its_bytes() {
    for (entry, bytes) in frozen() {
        assert_eq!(encoded(&entry).escape_ascii().to_string(), bytes.escape_ascii().to_string(), "{entry:?}");
        assert_eq!(Entry::decode(bytes), Ok(entry));
    }
}

#[test]
fn every_kind_of_entry_is_among_the_frozen_ones() {
    let kinds: std::collections::BTreeSet<u8> = frozen().iter().map(|(_, bytes)| bytes[1]).collect();
    let unknown = (0..=u8::MAX).filter(|kind| Entry::decode(&[FORM, *kind]) == Err(DecodeError::Kind { found: *kind }));
    let unknown = Vec::from_iter(unknown);
    assert_eq!(kinds.len() + unknown.len(), 256, "kinds {kinds:?}");
}

#[test]
fn truncated_and_extended_bytes_are_refused() {
    for (entry, bytes) in frozen() {
        for length in 0..bytes.len() {
            let refused = Entry::decode(&bytes[..length]);
            assert!(matches!(refused, Err(DecodeError::Truncated { .. })), "{length} bytes of {entry:?}: {refused:?}");
        }
        let extended = [bytes, b"\0"].concat();
        assert_eq!(Entry::decode(&extended), Err(DecodeError::Trailing { bytes: 1 }), "{entry:?}");
    }
}

#[test]
fn other_forms_and_unknown_kinds_are_refused() {
    for found in [0, 2, 255] {
        let refused = Entry::decode(&[found, 3, 4, 6]).unwrap_err();
        assert_eq!(refused, DecodeError::Form { found });
        let expected = format!("the entry has form {found}, and this holdline reads form 1; ");
        assert!(refused.to_string().starts_with(&expected), "{refused}");
    }
    assert_eq!(Entry::decode(&[1, 99]), Err(DecodeError::Kind { found: 99 }));
}

#[test]
fn damaged_fields_are_refused_by_name() {
    let invalid = |field, reason| Err(DecodeError::Invalid { field, reason });
    for (bytes, expected) in [
        (&b"\x01\x03\x84\x00\x06"[..], invalid("room", "is longer than it must be")),
        (b"\x01\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x06", invalid("room", "has more than 64 bits")),
        (b"\x01\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00\x06", invalid("room", "has more than 64 bits")),
        (b"\x01\x01\x0e\x06Bob\x01\x00", invalid("name", "is not a name")),
        (b"\x01\x01\x0e\x06bo\xff\x01\x00", invalid("name", "is not UTF-8")),
        (b"\x01\x01\x0e\x06bob\x02\x00", invalid("seen", "is neither 0 nor 1")),
        (b"\x01\x02\x04\x08home", invalid("name", "is not the name of a room")),
        (b"\x01\x02\x04\x01", invalid("name", "has a length that is out of range")),
        (b"\x01\x05\x00\x02\x02\x00\x02\x07\x00", invalid("text", "is empty or has hidden characters")),
        (b"\x01\x05\x00\x02\x00\x02x\x01\x00", invalid("id", "is empty or too long")),
        (b"\x01\x0b\x02\x06\x04", invalid("kind", "is not a kind of event")),
        (
            b"\x01\x05\x00\x02\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            invalid("recipients", "has a number that is out of range"),
        ),
    ] {
        assert_eq!(Entry::decode(bytes), expected, "{}", bytes.escape_ascii());
    }
    // A list of 2^62 items is refused before memory is reserved for it.
    let long = b"\x01\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01";
    assert_eq!(Entry::decode(long), Err(DecodeError::Truncated { field: "names" }));
    let shown = Entry::decode(b"\x01\x01\x0e\x06Bob\x01\x00").unwrap_err().to_string();
    assert_eq!(shown, "the entry's field name is not a name; the bytes are damaged");
}

fn entries() -> impl Strategy<Value = Entry> {
    let number = any::<i64>;
    let peer = || number().prop_map(PeerId::new);
    let room = || number().prop_map(RoomId::new);
    let seq = || number().prop_map(Seq::new);
    let at = || number().prop_map(Timestamp::from_millis);
    let peer_name = || "[a-z0-9]{1,12}|ünïcødé|太郎".prop_map(|name| PeerName::parse(&name).unwrap());
    let filter =
        any::<[bool; 4]>().prop_map(|[logged, join, leave, delivered]| EventFilter { logged, join, leave, delivered });
    let recipient = (i64::MIN + 1..i64::MAX).prop_map(Recipient::numbered);
    let text = || any::<String>().prop_filter_map("a text is not empty", |text| Text::verbatim(&text));
    let id = ("\\PC{1,16}", number()).prop_map(|(id, fingerprint)| {
        let id = RequestId::parse(&id).expect("16 characters are at most 64 bytes");
        Box::new(SendId { id, fingerprint })
    });
    let column = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
    let post = || {
        (number(), column(), column(), column())
            .prop_map(|(row, sender, recipients, text)| Box::new(Post { row, sender, recipients, text }))
    };
    let kind = prop_oneof![Just(EventKind::Join), Just(EventKind::Leave), seq().prop_map(EventKind::Delivered)];
    prop_oneof![
        (peer(), peer_name(), any::<bool>(), seq()).prop_map(|(id, name, seen, cursor)| Entry::Peer(PeerRecord {
            id,
            name,
            seen,
            cursor
        })),
        (room(), peer_name(), proptest::option::of(peer())).prop_map(|(id, name, creator)| Entry::Room {
            id,
            name: Room::parse(&format!("#{name}")).unwrap(),
            creator
        }),
        (peer(), any::<[u8; 16]>().prop_map(|bytes| Source::of(bytes.into())))
            .prop_map(|(peer, source)| Entry::Source { peer, source }),
        (peer(), proptest::option::of("[ -~]{0,20}"), any::<i64>()).prop_map(|(peer, password, at)| Entry::Account {
            peer,
            password: password.map(|password| PasswordHash::new(&password)),
            at: Timestamp::from_millis(at),
        }),
        room().prop_map(|room| Entry::RemoveRoom { room }),
        (room(), peer()).prop_map(|(room, peer)| Entry::Join { room, peer }),
        (room(), peer()).prop_map(|(room, peer)| Entry::Leave { room, peer }),
        (at(), peer(), proptest::collection::vec(recipient, 0..20), text(), proptest::option::of(id))
            .prop_map(|(at, sender, recipients, text, id)| Entry::Message { at, sender, recipients, text, id }),
        (room(), proptest::option::of(text())).prop_map(|(room, topic)| Entry::Topic { room, topic }),
        (room(), seq()).prop_map(|(room, floor)| Entry::Floor { room, floor }),
        any::<u64>().prop_map(|seconds| Entry::Ran { seconds }),
        (number(), any::<String>(), number()).prop_map(|(request, name, target)| Entry::BeginPurge {
            request,
            name,
            target: Recipient::numbered(target.max(-i64::MAX))
        }),
        Just(Entry::ContinuePurge),
        (number(), any::<String>()).prop_map(|(request, reason)| Entry::RefusePurge { request, reason }),
        post().prop_map(Entry::OutboxSent),
        (post(), at(), any::<String>()).prop_map(|(post, at, reason)| Entry::OutboxRefused { post, at, reason }),
        (peer(), filter).prop_map(|(observer, wants)| Entry::Observe { observer, wants }),
        (peer(), seq(), number()).prop_map(|(observer, seq, event)| Entry::ObserverAdvanced {
            observer,
            seen: ObserverCursor { seq, event }
        }),
        proptest::collection::vec(peer_name(), 0..5).prop_map(|only| Entry::RetainObservers { only }),
        (at(), kind, peer()).prop_map(|(at, kind, peer)| Entry::Event(PeerEvent { at, kind, peer })),
        proptest::collection::vec((seq(), seq()).prop_map(|(first, last)| SeqRange { first, last }), 0..5)
            .prop_map(|ranges| Entry::Remove { ranges }),
        (peer(), any::<String>(), proptest::option::of(any::<String>())).prop_map(|(peer, key, value)| Entry::Value {
            peer,
            key,
            value
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_returns_what_was_encoded(entry in entries()) {
        prop_assert_eq!(Entry::decode(&encoded(&entry)), Ok(entry));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_have_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let bytes = [&[FORM][..], &bytes].concat();
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(encoded(&entry), bytes);
        }
    }

    #[test]
    fn damaged_entry_is_refused_or_is_another_one(entry in entries(), place in any::<prop::sample::Index>(), bit in 0..8) {
        let mut bytes = encoded(&entry);
        let place = place.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        if let Ok(other) = Entry::decode(&bytes) {
            prop_assert_ne!(&other, &entry);
            prop_assert_eq!(encoded(&other), bytes);
        }
    }
}
