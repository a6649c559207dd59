//! Outbox of a session in the form that its receiver reads: lines for a client, values for a plugin. Owns the conversion to that form;
//! never decides what a session gets.

use crate::broker::budget::OutboxBudget;
use crate::broker::event::SessionOutput;
use crate::broker::outbox::{Delivered, Outbox, SessionValue, ValueBatch};
use crate::message::{Message, RequestId};
use crate::protocol::{Capabilities, Reply, SessionEncoder};

/// Broker's side of a session's output.
#[derive(Debug)]
pub(super) enum SessionOutbox {
    /// Encoded lines, for a client.
    Lines { encoder: SessionEncoder, outbox: Outbox },
    /// Values, for a plugin inside the server.
    Values { capabilities: Capabilities, outbox: Outbox<ValueBatch> },
}

/// Evaluates an expression with the outbox of either form.
macro_rules! with_outbox {
    ($session:expr, $outbox:ident => $result:expr) => {
        match $session {
            SessionOutbox::Lines { outbox: $outbox, .. } => $result,
            SessionOutbox::Values { outbox: $outbox, .. } => $result,
        }
    };
}

impl SessionOutbox {
    pub(super) fn new(output: SessionOutput) -> Self {
        match output {
            SessionOutput::Lines { encoder, outbox } => SessionOutbox::Lines { encoder, outbox: Outbox::new(outbox) },
            SessionOutput::Values { capabilities, outbox } => {
                SessionOutbox::Values { capabilities, outbox: Outbox::new(outbox) }
            }
        }
    }

    /// Returns the capabilities that the client declared.
    pub(super) fn capabilities(&self) -> Capabilities {
        match self {
            SessionOutbox::Lines { encoder, .. } => encoder.capabilities,
            SessionOutbox::Values { capabilities, .. } => *capabilities,
        }
    }

    /// Whether the session is that of a plugin.
    pub(super) fn is_plugin(&self) -> bool {
        matches!(self, SessionOutbox::Values { .. })
    }

    /// Appends a reply.
    pub(super) fn reply(&mut self, id: Option<&RequestId>, reply: &Reply, budget: &mut OutboxBudget) {
        match self {
            SessionOutbox::Lines { encoder, outbox } => {
                outbox.append(None, budget, |out| encoder.encoder.encode_reply(id, reply, out));
            }
            SessionOutbox::Values { outbox, .. } => {
                outbox.push(SessionValue::Reply { id: id.cloned(), reply: reply.clone() }, budget);
            }
        }
    }

    /// Appends a message of a page. With a mark, the message counts as delivered once its bytes are.
    pub(super) fn feed(&mut self, mark: Option<Delivered>, message: Message, budget: &mut OutboxBudget) {
        match self {
            SessionOutbox::Lines { encoder, outbox } => {
                outbox.append(mark, budget, |out| encoder.encoder.encode_message(&message, out));
            }
            SessionOutbox::Values { outbox, .. } => outbox.push(SessionValue::Message(message), budget),
        }
    }

    /// Whether nothing more can be written.
    pub(super) fn is_closed(&self) -> bool {
        with_outbox!(self, outbox => outbox.is_closed())
    }

    /// Whether this many bytes may be added.
    pub(super) fn has_room(&self, bytes: usize, budget: &OutboxBudget) -> bool {
        with_outbox!(self, outbox => outbox.has_room(bytes, budget))
    }

    /// Returns the bytes that one large answer may have.
    pub(super) fn answer_bytes_max(&self, budget: &OutboxBudget) -> usize {
        with_outbox!(self, outbox => outbox.answer_bytes_max(budget))
    }

    /// Returns the bytes that a page may have; `None` if no page may be read.
    pub(super) fn room_for_page(&self, budget: &OutboxBudget) -> Option<usize> {
        with_outbox!(self, outbox => outbox.room_for_page(budget))
    }

    /// Returns the number of bytes that were appended since the session began.
    pub(super) fn appended_bytes(&self) -> u64 {
        with_outbox!(self, outbox => outbox.appended_bytes())
    }

    /// Returns the number of appended bytes that the receiver has reported as written.
    pub(super) fn written_bytes(&self) -> u64 {
        with_outbox!(self, outbox => outbox.written_bytes())
    }

    /// Passes the collected output to the receiver.
    pub(super) fn flush(&mut self) {
        with_outbox!(self, outbox => outbox.flush());
    }

    /// Takes the receiver's report that it has written this many bytes.
    pub(super) fn written(&mut self, bytes: usize, budget: &mut OutboxBudget) {
        with_outbox!(self, outbox => outbox.written(bytes, budget));
    }

    /// Gives back what was not reported as written, because the session ends.
    pub(super) fn release(&mut self, budget: &mut OutboxBudget) {
        with_outbox!(self, outbox => outbox.release(budget));
    }

    /// Closes the outbox: the receiver finishes with what it has.
    pub(super) fn close(&mut self) {
        with_outbox!(self, outbox => outbox.close());
    }
}
