//! Acks on the wire: what they weigh, and the messages that they are gathered in.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::SerializeSeq};
use wire::{Ack, Command, WorkerId};

use super::OVERHEAD;

/// About how many bytes an ack is on the wire.
pub(crate) fn weight(ack: &Ack) -> usize {
    let session = ack.session.as_ref().map_or(0, |change| {
        change.set.as_bytes().len() + change.removed.iter().map(|k| k.len() + 2).sum::<usize>()
    });
    OVERHEAD + session + ack.commands.iter().map(command_weight).sum::<usize>()
}

/// About how many bytes a command is on the wire.
pub(crate) fn command_weight(command: &Command) -> usize {
    48 + match command {
        Command::Send(message) => message.len(),
        Command::Close {
            reason, message, ..
        } => reason.len() + message.as_ref().map_or(0, wire::Payload::len),
        Command::BindUid(uid)
        | Command::Claim { uid, .. }
        | Command::Contest { uid, .. }
        | Command::Settle { uid, .. }
        | Command::Withdraw { uid, .. } => uid.len(),
        Command::Join(group) | Command::Leave(group) => group.len(),
        Command::SetSession(session) | Command::UpdateSession(session) => session.as_bytes().len(),
        Command::Destroy | Command::UnbindUid => 0,
    }
}

/// The messages for these acks: one, or more on a server with a small `max_payload`.
pub(super) fn pieces(worker: WorkerId, acks: &[Arc<Ack>], most: usize) -> Vec<Bytes> {
    let whole = encode(worker, acks);
    if whole.len() <= most || acks.len() < 2 {
        return vec![whole];
    }
    let (head, tail) = acks.split_at(acks.len() / 2);
    let mut pieces = self::pieces(worker, head, most);
    pieces.extend(self::pieces(worker, tail, most));
    pieces
}

/// An [`wire::AckMessage`] of acks that the ledger keeps as well.
fn encode(worker: WorkerId, acks: &[Arc<Ack>]) -> Bytes {
    #[derive(Serialize)]
    struct Shared<'a> {
        worker: WorkerId,
        many: bool,
        #[serde(serialize_with = "each")]
        acks: &'a [Arc<Ack>],
    }
    fn each<S: Serializer>(acks: &[Arc<Ack>], to: S) -> Result<S::Ok, S::Error> {
        let mut seq = to.serialize_seq(Some(acks.len()))?;
        for ack in acks {
            seq.serialize_element(&**ack)?;
        }
        seq.end()
    }
    let many = true;
    wire::encode(&Shared { worker, many, acks }).into()
}

#[cfg(test)]
pub(super) mod tests {
    use wire::{AckMessage, AckStatus, ConnId};

    use super::*;

    pub(in crate::outbox) fn ack(conn: u32) -> Arc<Ack> {
        Arc::new(Ack {
            conn: ConnId(conn),
            seq: 1,
            attempt: 1,
            status: AckStatus::Done,
            handled: 0,
            failed: 0,
            session: None,
            commands: Vec::new(),
        })
    }

    #[test]
    fn a_server_with_a_small_limit_gets_gathered_acks_in_pieces_and_in_order() {
        let worker = WorkerId::from_bytes([9; 6]);
        let acks: Vec<_> = (0..7).map(ack).collect();
        let most = encode(worker, &acks[..3]).len();
        let mut conns = Vec::new();
        for piece in pieces(worker, &acks, most) {
            assert!(piece.len() <= most);
            let message: AckMessage = wire::decode(&piece).unwrap();
            conns.extend(message.acks.iter().map(|ack| ack.conn.0));
        }
        assert_eq!(conns, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(
            pieces(worker, &acks[..1], 1).len(),
            1,
            "that is all there is"
        );
    }

    #[test]
    fn shared_acks_are_encoded_as_the_contract_says() {
        let worker = WorkerId::from_bytes([9; 6]);
        let acks = [ack(1), ack(2)];
        let plain = AckMessage {
            worker,
            many: true,
            acks: acks.iter().map(|a| Ack::clone(a)).collect(),
        };
        assert_eq!(encode(worker, &acks), wire::encode(&plain));
    }
}
