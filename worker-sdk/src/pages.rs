//! Pages: what gateways say in several answers, asked for as it is read.
//!
//! Of each gateway at most one page is on its way or waits to be read: the next is asked for when
//! whoever reads says so. So a list of any length needs little memory here.

use std::{collections::HashMap, time::Duration};

use tokio::time::{Instant, timeout_at};
use wire::{Answer, ConnId, Fields, Filter, GatewayId, Names, Query, RequestKind};

use crate::{
    Error, ErrorKind, Target, context,
    link::Link,
    query,
    replies::{Call, Reply},
    target::Whom,
};

/// An answer that came while nobody waited for it has at least so long to be found.
const GRACE: Duration = Duration::from_millis(50);

/// What is asked, without where it goes on.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Clients {
        fields: Fields,
        filter: Filter,
        limit: u32,
    },
    Uids(Names),
    Groups(Names),
}

/// Where a gateway's next page begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cursor {
    Client(ConnId),
    Name(String, Within),
}

/// How far a name is: behind one of its clients, or, which is more, done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Within {
    Client(ConnId),
    Done,
}

/// How far a gateway is.
#[derive(Debug)]
enum State {
    /// Asked for a page, the one that begins here. It has until then, once somebody waits.
    Asked(Option<Cursor>, Option<Instant>),
    /// It gave a page, and has another that begins here.
    HasMore(Cursor),
    Done,
}

/// The answers of all gateways, page by page.
pub(crate) struct Pages {
    target: Target,
    asked: Asked,
    call: Call,
    /// The first page, where there is only one gateway to ask.
    ready: Option<Answer>,
    gateways: HashMap<GatewayId, State>,
    missing: Vec<GatewayId>,
    begun: bool,
}

impl Asked {
    fn query(&self, from: Option<&Cursor>) -> RequestKind {
        let conn = match from {
            Some(Cursor::Client(conn)) => Some(*conn),
            _ => None,
        };
        let after = |names: &Names| match from {
            Some(Cursor::Name(name, within)) => Names {
                after: Some(name.clone()),
                within: match within {
                    Within::Client(conn) => Some(*conn),
                    Within::Done => None,
                },
                ..names.clone()
            },
            _ => names.clone(),
        };
        RequestKind::Query(match self {
            Self::Clients {
                fields,
                filter,
                limit,
            } => Query::List {
                fields: *fields,
                filter: filter.clone(),
                after: conn,
                limit: *limit,
            },
            Self::Uids(names) => Query::Uids(after(names)),
            Self::Groups(names) => Query::Groups(after(names)),
        })
    }
}

impl Pages {
    /// Asks for the first page of each gateway that is to answer.
    pub(crate) async fn begin(target: Target, asked: Asked) -> Result<Self, Error> {
        let kind = asked.query(None);
        let mut ready = None;
        let mut gateways = HashMap::new();
        let call = target.gateway.link().replies.open();
        if let Whom::Client(id) = target.whom()? {
            ready = target.ask_client(*id, kind).await?;
            if let Some(answer) = &ready {
                let state = cursor(answer).map_or(State::Done, State::HasMore);
                gateways.insert(answer.gateway, state);
            }
        } else {
            let link = target.gateway.link();
            let request = target.request_elsewhere(kind)?;
            context::overtaking();
            let there = link.gateways().await?;
            let wait = |gateway| (gateway, State::Asked(None, None));
            gateways = there.into_iter().map(wait).collect();
            link.ask(link.subjects.all(), call.subject(), wire::encode(&request))?;
        }
        Ok(Self {
            target,
            asked,
            call,
            ready,
            gateways,
            missing: Vec::new(),
            begun: false,
        })
    }

    /// The next page of any gateway that was asked; `None` when none is. Cancel safe.
    ///
    /// After an error the others go on; the gateway that it is about is missing.
    pub(crate) async fn next(&mut self) -> Option<Result<Answer, Error>> {
        if let Some(answer) = self.ready.take() {
            return Some(Ok(answer));
        }
        let grace = Instant::now() + GRACE;
        loop {
            let deadline = self.link().deadline();
            let deadlines = self.gateways.values_mut().filter_map(|state| match state {
                State::Asked(_, until) => Some(*until.get_or_insert(deadline)),
                _ => None,
            });
            let until = deadlines.min()?.max(grace);
            match timeout_at(until, self.call.next()).await {
                Ok(Some(Reply::Answer(answer))) => {
                    if let Some(page) = self.take(answer) {
                        return Some(page);
                    }
                }
                Ok(Some(Reply::Echo)) => {}
                // Nobody hears the first question: then nobody will answer it.
                Ok(Some(Reply::Nobody) | None) if !self.begun => self.give_up(|_| true),
                // Who does not listen any more, and is in no roster, has no clients any more.
                Ok(Some(Reply::Nobody)) => self.forget_the_gone(),
                Ok(None) | Err(_) => {
                    let now = Instant::now();
                    self.give_up(|until| until <= now);
                }
            }
        }
    }

    /// Asks a gateway for its next page, if it has one; says whether it was asked.
    pub(crate) fn go_on(&mut self, gateway: GatewayId) -> Result<bool, Error> {
        let Some(State::HasMore(from)) = self.gateways.get(&gateway) else {
            return Ok(false);
        };
        let from = from.clone();
        let asked = self.ask(gateway, &from);
        let state = match asked {
            Ok(()) => State::Asked(Some(from), None),
            Err(_) => State::Done,
        };
        self.gateways.insert(gateway, state);
        match asked {
            Ok(()) => Ok(true),
            Err(error) => {
                self.miss(gateway);
                Err(error)
            }
        }
    }

    /// Who gave no answer, or not all of it; complete when there is nothing left to read.
    pub(crate) fn missing(&self) -> &[GatewayId] {
        &self.missing
    }

    /// Not all that this gateway has is in the list.
    pub(crate) fn miss(&mut self, gateway: GatewayId) {
        if !self.missing.contains(&gateway) {
            self.missing.push(gateway);
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    fn link(&self) -> &Link {
        self.target.gateway.link()
    }

    fn ask(&self, gateway: GatewayId, from: &Cursor) -> Result<(), Error> {
        let (link, kind) = (self.link(), self.asked.query(Some(from)));
        let (subject, request) = match self.target.whom()? {
            Whom::Client(_) => self.target.request(kind)?,
            _ => (
                link.subjects.gateway(gateway),
                self.target.request_elsewhere(kind)?,
            ),
        };
        context::overtaking();
        link.ask(subject, self.call.subject(), wire::encode(&request))
    }

    /// A page, or `None` for one that is not waited for: it came too late, or twice.
    fn take(&mut self, answer: Answer) -> Option<Result<Answer, Error>> {
        let gateway = answer.gateway;
        let from = match self.gateways.get(&gateway) {
            Some(State::Asked(from, _)) => from.as_ref(),
            // It came after the roster was read, and heard the first question all the same.
            None => None,
            Some(State::HasMore(_) | State::Done) => return None,
        };
        self.begun = true;
        let page = query::check(answer).and_then(|answer| match cursor(&answer) {
            Some(next) if from.is_some_and(|from| next <= *from) => {
                let says = format!("gateway {gateway} gives the same page again");
                Err(Error::new(ErrorKind::Refused, says))
            }
            _ => Ok(answer),
        });
        let state = match &page {
            Ok(answer) => cursor(answer).map_or(State::Done, State::HasMore),
            Err(_) => {
                self.miss(gateway);
                State::Done
            }
        };
        self.gateways.insert(gateway, state);
        Some(page)
    }

    fn give_up(&mut self, is_late: impl Fn(Instant) -> bool) {
        let there = self.link().roster.gateways();
        for (gateway, state) in &mut self.gateways {
            if let State::Asked(_, Some(until)) = state
                && is_late(*until)
            {
                *state = State::Done;
                // Who left the roster meanwhile has no clients any more.
                if there.contains(gateway) && !self.missing.contains(gateway) {
                    self.missing.push(*gateway);
                }
            }
        }
    }

    fn forget_the_gone(&mut self) {
        let there = self.link().roster.gateways();
        for (gateway, state) in &mut self.gateways {
            if matches!(state, State::Asked(..)) && !there.contains(gateway) {
                *state = State::Done;
            }
        }
    }
}

fn cursor(answer: &Answer) -> Option<Cursor> {
    let within = answer.next_within.map_or(Within::Done, Within::Client);
    let name = || Some(Cursor::Name(answer.next_name.clone()?, within));
    answer.next.map(Cursor::Client).or_else(name)
}
