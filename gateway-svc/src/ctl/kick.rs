//! `kick`: closes connections.

use serde_json::json;
use wire::{AnswerError, ClientId, Command, Request};

use super::{
    Report,
    bus::{Bus, Reply},
    census::nobody,
    connections::about,
    options::Kick,
};

/// Closes the connection of one client, or of all of a uid or group.
pub(super) async fn kick(bus: &mut Bus, options: &Kick) -> Report {
    let request = Request::command(Command::Close {
        code: options.code,
        reason: options.reason.clone(),
        message: None,
    });
    if let Some(client) = options.whom.client {
        return kick_one(bus, client, &request).await;
    }
    let request = about(
        request,
        options.whom.uid.as_deref(),
        options.whom.group.as_deref(),
    );
    let gathered = bus.ask_all(&request).await;
    let kicked: u64 = gathered.answers.values().map(|answer| answer.count).sum();
    let whose = match (&options.whom.uid, &options.whom.group) {
        (Some(uid), _) => format!("uid {:?}", &**uid),
        (None, Some(group)) => format!("group {:?}", &**group),
        (None, None) => unreachable!("one of the three is required"),
    };
    let mut trouble = nobody(bus, bus.roster.gateways().is_empty(), "no gateway beats");
    trouble.extend(gathered.gaps.trouble);
    if kicked == 0 && trouble.is_empty() {
        trouble.push(format!("{whose} has no client"));
    }
    Report {
        text: format!("{kicked} kicked ({whose})\n"),
        json: json!({ "kicked": kicked, "missing": gathered.gaps.missing }),
        trouble,
    }
}

async fn kick_one(bus: &mut Bus, client: ClientId, request: &Request) -> Report {
    let subject = bus.subjects.client(client);
    let (kicked, missing, trouble) = match bus.ask_one(&subject, request).await {
        Some(Reply::Answer(answer)) => match answer.error {
            None => (answer.count, vec![], None),
            Some(AnswerError::NoClient) => (0, vec![], Some(format!("{client} is not there"))),
            Some(error) => (0, vec![], Some(format!("its gateway says: {error:?}"))),
        },
        Some(Reply::Nobody) => {
            let says = format!(
                "{client} is not there: nor is its gateway {}",
                client.gateway
            );
            (0, vec![], Some(says))
        }
        None => {
            let says = format!("gateway {} does not answer", client.gateway);
            (0, vec![client.gateway], Some(says))
        }
    };
    Report {
        text: match kicked {
            0 => String::new(),
            _ => format!("{client} kicked\n"),
        },
        json: json!({ "kicked": kicked, "missing": missing }),
        trouble: trouble.into_iter().collect(),
    }
}
