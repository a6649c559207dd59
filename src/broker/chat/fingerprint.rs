//! Fingerprint of a message that has an id: distinguishes a repeated message from another message with the same id. Owns the computation,
//! which never changes.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::message::RequestId;
use crate::protocol::Draft;
use crate::store::SendId;

/// Returns the id of a message with its fingerprint, by which a repeated message is recognised.
pub(super) fn send_id(id: RequestId, draft: &Draft) -> Box<SendId> {
    Box::new(SendId { id, fingerprint: fingerprint(draft) })
}

/// Hashes the text and the destinations, whose order does not matter: SipHash-1-3 over bytes, so the result is the same on every machine and
/// in every version. <https://www.aumasson.jp/siphash/siphash.pdf>
fn fingerprint(Draft { to, text }: &Draft) -> i64 {
    let mut names: Vec<&str> = to.iter().map(|destination| destination.as_str()).collect();
    names.sort_unstable();
    let mut hasher = SipHasher13::new();
    for name in names {
        hasher.write(name.as_bytes());
        // No name contains a newline.
        hasher.write(b"\n");
    }
    hasher.write(b"\n");
    hasher.write(text.as_str().as_bytes());
    hasher.finish().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Destination, Text};

    fn of(to: &[&str], text: &str) -> i64 {
        let to = to.iter().map(|name| Destination::parse(name).unwrap()).collect();
        fingerprint(&Draft { to, text: Text::verbatim(text).unwrap() })
    }

    #[test]
    fn fingerprint_depends_on_the_text_and_the_destinations_in_any_order() {
        assert_eq!(of(&["bob", "#home"], "hi"), of(&["#home", "bob"], "hi"));
        assert_ne!(of(&["bob"], "hi"), of(&["bob"], "hi "));
        assert_ne!(of(&["bob"], "hi"), of(&["bo"], "hi"));
        assert_ne!(of(&["bob", "carol"], "hi"), of(&["bob"], "hi"));
    }

    #[test]
    fn fingerprint_is_stored_in_databases_and_never_changes() {
        assert_eq!(of(&["bob"], "hi"), -3_400_175_996_723_340_846);
    }
}
