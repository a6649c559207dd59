//! How the rows hang together: a message and its sender, its recipients and their inboxes, a peer and its cursor. Owns what
//! is to be so, as SQL, and the statements that mend what is not; never runs one of those.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{Finding, Verdict, said};
use crate::limits::FAULTS_NAMED_MAX;
use crate::message::quoted;
use crate::store::bystander::Bystander;

/// What is so about messages, inboxes and peers.
pub(super) fn look(bystander: &Bystander) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for check in [&SENDERS, &RECIPIENTS, &MISSING, &STRAYS, &ROWS, &INDEX, &PEERS] {
        check.look(bystander, &mut findings)?;
    }
    Ok(findings)
}

/// Something that is to be so for all rows of a join.
struct Check {
    /// How it is told that it is so.
    fine: &'static str,
    /// The rows.
    from: &'static str,
    /// The column by which a row is named to people.
    key: &'static str,
    /// What the key is called; nothing where it speaks for itself.
    key_name: &'static str,
    /// What may be wrong with a row.
    faults: &'static [Fault],
}

/// What may be wrong with a row.
struct Fault {
    /// When it is.
    condition: &'static str,
    /// How bad it is.
    verdict: Verdict,
    /// How it is told of one row, after the count.
    one: &'static str,
    /// How it is told of more.
    many: &'static str,
    /// What mends all such rows.
    mend: Option<&'static str>,
}

const SENDERS: Check = Check {
    fine: "every message has its sender, and leads to the one that this one sent before",
    from: "message
           left join peer as sender on sender.id = message.sender
           left join message as before on before.seq = message.previous",
    key: "message.seq",
    key_name: "seq",
    faults: &[
        Fault {
            condition: "message.seq < 1",
            verdict: Verdict::Problem,
            one: "message has a seq below 1 and is never delivered: no server wrote that; remove it, or restore a backup",
            many: "messages have a seq below 1 and are never delivered: no server wrote that; remove them, or restore a backup",
            mend: None,
        },
        Fault {
            condition: "sender.id is null",
            verdict: Verdict::Problem,
            one: "message has a sender who is no peer, and would never be delivered",
            many: "messages have a sender who is no peer, and would never be delivered",
            mend: Some(
                "insert into peer (id, name, sent)
                 select sender, 'unknown-' || sender, max(seq) from message
                 where sender not in (select id from peer) group by sender",
            ),
        },
        Fault {
            condition: "message.seq > sender.sent and message.seq <= {indexed}",
            verdict: Verdict::Problem,
            one: "message is newer than the newest that is noted for its sender, whose history will miss it",
            many: "messages are newer than the newest that is noted for their sender, whose history will miss them",
            mend: Some(NOTE_NEWEST),
        },
        Fault {
            condition: "message.previous not between 0 and max(message.seq - 1, 0) or before.sender <> message.sender",
            verdict: Verdict::Problem,
            one: "message does not lead to one that its sender sent before: the history of the sender goes wrong there",
            many: "messages do not lead to one that their sender sent before: the history of the sender goes wrong there",
            mend: Some(
                "update message set previous = chain.previous
                 from (select seq, lag(seq, 1, 0) over (partition by sender order by seq) as previous from message) as chain
                 where chain.seq = message.seq
                 and (message.previous not between 0 and max(message.seq - 1, 0)
                      or message.sender <> (select before.sender from message as before where before.seq = message.previous))",
            ),
        },
    ],
};

const RECIPIENTS: Check = Check {
    fine: "",
    from: "message join {addressed} as addressed left join peer on peer.id = addressed.value",
    key: "message.seq",
    key_name: "seq",
    faults: &[Fault {
        condition: "peer.id is null",
        verdict: Verdict::Problem,
        one: "message is for somebody who is no peer: nobody can log in and get it",
        many: "messages are for somebody who is no peer: nobody can log in and get them",
        mend: Some(
            "insert into peer (id, name)
             select distinct addressed.value, 'unknown-' || addressed.value
             from message, {addressed} as addressed
             where addressed.value not in (select id from peer)",
        ),
    }],
};

const MISSING: Check = Check {
    fine: "every message is in the inbox of each of its recipients",
    from: "(
               select addressed.value as recipient, message.seq as seq
               from message join {addressed} as addressed where message.seq <= {indexed}
               except
               select inbox.recipient, entry.value from inbox join {entries} as entry
           ) as missing
           join peer on peer.id = missing.recipient",
    key: "missing.seq",
    key_name: "seq",
    faults: &[
        Fault {
            condition: "missing.seq > peer.cursor",
            verdict: Verdict::Problem,
            one: "waiting message is missing in the inbox of its recipient, and would never be delivered",
            many: "waiting messages are missing in the inboxes of their recipients, and would never be delivered",
            mend: Some(MAKE_ANEW),
        },
        Fault {
            condition: "missing.seq <= peer.cursor",
            verdict: Verdict::Warning,
            one: "older message is missing in the inbox of its recipient, who may never have got it and will not see it in \
                  /history",
            many: "older messages are missing in the inboxes of their recipients, who may never have got them and will not \
                   see them in /history",
            mend: Some(MAKE_ANEW),
        },
    ],
};

const STRAYS: Check = Check {
    fine: "no inbox holds anything else",
    from: "(
               select inbox.recipient as recipient, entry.value as seq from inbox join {entries} as entry
               except
               select addressed.value, message.seq from message join {addressed} as addressed
           ) as stray
           left join peer on peer.id = stray.recipient
           left join message on message.seq = stray.seq",
    key: "stray.seq",
    key_name: "seq",
    faults: &[
        Fault {
            condition: "message.seq is null and stray.seq > coalesce(peer.cursor, 0)",
            verdict: Verdict::Problem,
            one: "entry of an inbox has no message: it counts as waiting, and never arrives",
            many: "entries of inboxes have no message: they count as waiting, and never arrive",
            mend: Some(MAKE_ANEW),
        },
        Fault {
            condition: "message.seq is not null and json_valid(message.recipients)",
            verdict: Verdict::Problem,
            one: "message is in the inbox of somebody to whom it was not sent",
            many: "messages are in the inbox of somebody to whom they were not sent",
            mend: Some(MAKE_ANEW),
        },
    ],
};

const ROWS: Check = Check {
    fine: "",
    from: "inbox",
    key: "inbox.last",
    key_name: "last",
    faults: &[Fault {
        condition: "not json_valid(inbox.seqs) or inbox.last is not (select max(value) from {entries})",
        verdict: Verdict::Problem,
        one: "row of an inbox does not end where it says: messages may not be delivered, or never count as delivered",
        many: "rows of inboxes do not end where they say: messages may not be delivered, or never count as delivered",
        mend: Some(MAKE_ANEW),
    }],
};

const INDEX: Check = Check {
    fine: "",
    from: "indexed",
    key: "indexed.seq",
    key_name: "seq",
    faults: &[Fault {
        condition: "indexed.seq > (select max(coalesce((select max(seq) from message), 0), coalesce(max(cursor), 0)) from peer)",
        verdict: Verdict::Problem,
        one: "note says that inboxes hold every message up to one that is not there yet: those that are sent next may be missing",
        many: "notes say that inboxes hold every message up to one that is not there yet: those that are sent next may be missing",
        mend: Some(MAKE_ANEW),
    }],
};

const PEERS: Check = Check {
    fine: "every cursor lies within the log",
    from: "peer left join message as last on last.seq = peer.sent",
    key: "peer.name",
    key_name: "",
    faults: &[
        Fault {
            condition: "peer.cursor > max(coalesce((select max(seq) from message), 0), (select max(sent) from peer))",
            verdict: Verdict::Problem,
            one: "peer has a cursor beyond the newest message: what is sent to it next may count as delivered already",
            many: "peers have a cursor beyond the newest message: what is sent to them next may count as delivered already",
            mend: Some(
                "update peer set cursor = newest.seq
                 from (select max(coalesce((select max(seq) from message), 0), max(sent)) as seq from peer) as newest
                 where cursor > newest.seq",
            ),
        },
        Fault {
            condition: "peer.cursor < 0 or peer.sent < 0",
            verdict: Verdict::Problem,
            one: "peer has a cursor or a newest message below 0",
            many: "peers have a cursor or a newest message below 0",
            mend: Some("update peer set cursor = max(cursor, 0), sent = max(sent, 0)"),
        },
        Fault {
            condition: "last.sender <> peer.id",
            verdict: Verdict::Problem,
            one: "peer is noted to have sent last what somebody else sent: its history begins in the wrong place",
            many: "peers are noted to have sent last what somebody else sent: their history begins in the wrong place",
            mend: Some(NOTE_NEWEST),
        },
    ],
};

/// What a peer sent last may have been removed since, so one who sent nothing that is there keeps what is noted.
const NOTE_NEWEST: &str = "
    update peer set sent = newest.seq from (select sender, max(seq) as seq from message group by sender) as newest
    where newest.sender = peer.id";

/// What `{indexed}` stands for: inboxes hold every message up to there.
const INDEXED: &str = "(select coalesce(max(seq), 0) from indexed)";

/// What `{addressed}` stands for: whom a message is for, and nobody where that cannot be read.
const ADDRESSED: &str = "json_each(iif(json_valid(message.recipients), message.recipients, '[]'))";

/// What `{entries}` stands for: the messages in a row of an inbox.
const ENTRIES: &str = "json_each(iif(json_valid(inbox.seqs), inbox.seqs, '[]'))";

/// The next start makes the inboxes from the log.
const MAKE_ANEW: &str = "delete from inbox; update indexed set seq = 0";

impl Check {
    fn look(&self, bystander: &Bystander, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
        let before = findings.len();
        let counts = self.count(bystander.connection())?;
        for (fault, count) in self.faults.iter().zip(counts).filter(|(_, count)| *count > 0) {
            let named = self.name(fault, bystander.connection())?;
            findings.push(fault.finding(count, self.key_name, &named, bystander));
        }
        if findings.len() == before && !self.fine.is_empty() {
            findings.push(Finding::fine(self.fine));
        }
        Ok(())
    }

    /// How many rows have each of the faults, in one pass.
    fn count(&self, connection: &Connection) -> rusqlite::Result<Vec<u64>> {
        let counts = self.faults.iter().map(|fault| format!("count(*) filter (where {})", fault.condition));
        let sql = format!("select {} from {}", counts.collect::<Vec<_>>().join(", "), self.from);
        connection.query_row(&in_full(&sql), [], |row| {
            (0..self.faults.len()).map(|nth| row.get::<_, i64>(nth).map(|count| count as u64)).collect()
        })
    }

    /// The first rows that have a fault.
    fn name(&self, fault: &Fault, connection: &Connection) -> rusqlite::Result<Vec<String>> {
        let Check { key, from, .. } = self;
        let condition = fault.condition;
        let sql =
            format!("select distinct {key} from {from} where {condition} order by {key} limit {FAULTS_NAMED_MAX}");
        connection.prepare(&in_full(&sql))?.query_map([], |row| row.get_ref(0).map(key_name))?.collect()
    }
}

impl Fault {
    fn finding(&self, count: u64, key_name: &str, named: &[String], bystander: &Bystander) -> Finding {
        let finding = Finding::of(self.verdict, said(count, self.one, self.many, key_name, named));
        match self.mend {
            Some(sql) => finding.mended_by_sql(bystander.path(), &in_full(sql)),
            None => finding,
        }
    }
}

fn in_full(sql: &str) -> String {
    sql.replace("{addressed}", ADDRESSED).replace("{entries}", ENTRIES).replace("{indexed}", INDEXED)
}

fn key_name(key: ValueRef<'_>) -> String {
    match key {
        ValueRef::Integer(seq) => seq.to_string(),
        other => quoted(&String::from_utf8_lossy(other.as_bytes().unwrap_or_default())),
    }
}
