//! Commands that are answered: to how many clients they were done, and which gateways did not say.

use std::collections::BTreeSet;

use wire::{Command, GatewayId, Request, RequestKind};

use crate::{
    Error, ErrorKind, Target, context,
    outbox::Letter,
    query::{gather, missing},
    target::Whom,
};

/// How many clients a message reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it may say that not every gateway answered"]
pub struct Reached {
    /// Into so many mailboxes the gateways that answered have put it.
    pub clients: u64,
    /// Gateways that did not answer in time; empty if the number is complete. Their clients may
    /// have got it, or not.
    pub missing: Vec<GatewayId>,
}

/// A command, where it goes, and who has to answer it.
pub(crate) struct Inquiry {
    pub(crate) subject: String,
    pub(crate) request: Request,
    /// One gateway; else every one.
    pub(crate) gateway: Option<GatewayId>,
}

impl Target {
    /// Issues a command at once, and gathers the answers of everybody who may have such clients.
    pub(crate) async fn confirm(&self, command: Command) -> Result<Reached, Error> {
        let link = self.gateway.link();
        let mut calls = Vec::new();
        let (mut letters, mut bytes) = (Vec::new(), 0);
        for inquiry in self.inquiries(&RequestKind::Command(command))? {
            let call = link.replies.open();
            let payload = wire::encode(&inquiry.request);
            // what does not fit together is not even gathered
            bytes += payload.len();
            link.outbox.check(bytes)?;
            letters.push(Letter {
                subject: inquiry.subject,
                reply: Some(call.subject()),
                payload,
            });
            calls.push((call, inquiry.gateway));
        }
        context::overtaking();
        link.publish_all(letters)?;
        let gateways = link.gateways().await?;
        let deadline = link.deadline();
        let (mut clients, mut silent) = (0, BTreeSet::new());
        for (mut call, gateway) in calls {
            let expected = gateway.map_or_else(|| gateways.clone(), |gateway| vec![gateway]);
            let (answers, open) =
                Box::pin(gather(link, &mut call, expected, deadline, |_| false)).await?;
            clients += answers.iter().map(|answer| answer.count).sum::<u64>();
            silent.extend(open);
        }
        Ok(Reached {
            clients,
            missing: silent.into_iter().collect(),
        })
    }

    /// Issues a command and waits for all who have such clients.
    pub(crate) async fn await_command(&self, command: Command) -> Result<u64, Error> {
        if let Whom::Client(id) = self.whom()? {
            let answer = self.ask_client(*id, RequestKind::Command(command)).await?;
            return Ok(answer.map_or(0, |answer| answer.count));
        }
        let reached = self.confirm(command).await?;
        match reached.missing.is_empty() {
            true => Ok(reached.clients),
            false => Err(missing(&reached.missing)),
        }
    }

    /// Changes the session of one client, if it has this version; says the version that it has then.
    pub(crate) async fn swap_session(
        &self,
        command: Command,
        version: u64,
    ) -> Result<Option<u64>, Error> {
        let &Whom::Client(id) = self.whom()? else {
            let says = "a session's version is that of one client: name it with `client(id)`";
            return Err(Error::new(ErrorKind::InvalidTarget, says));
        };
        let target = self.clone().if_version(version);
        let answer = target.ask_client(id, RequestKind::Command(command)).await?;
        Ok(answer
            .filter(|answer| answer.count > 0)
            .map(|answer| answer.version))
    }
}
