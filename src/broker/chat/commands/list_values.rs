//! Values of a plugin: all of them, read when the plugin starts.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::protocol::{Code, Refusal, Reply};
use crate::store::{Read, ReadFailure, ValuesQuery};

pub(super) fn decide(requester: &Requester, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    let values = turn.read(Read::Values, ValuesQuery { peer: requester.peer });
    turn.complete(Completion::ListValues { requester: requester.clone(), values });
    Ok(())
}

pub(super) fn complete(
    requester: &Requester,
    values: Result<Vec<(String, String)>, ReadFailure>,
    chat: &mut Chat,
    delivery: &mut Delivery,
) {
    let reply = match values {
        Ok(values) => Reply::Values { values },
        Err(_) => {
            let words = "the values cannot be read now, the server's log says why; none is shown";
            Reply::Refused(Refusal::new(Code::Internal, words))
        }
    };
    chat.reply(requester, &reply, delivery);
}
