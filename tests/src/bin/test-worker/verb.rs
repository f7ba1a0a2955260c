//! Verbs: what a client can tell the worker to do.
//!
//! A message is a verb and its words, with one space between them; the last word goes on to the end
//! of the message. `C` is a client id, `G` a group, `U` a uid, `K` a key, `T` a text.
//!
//! | message | what the worker does |
//! | --- | --- |
//! | `quiet T` | nothing but its report |
//! | `whoami` | sends what it knows of the client: an entry of the journal, as JSON |
//! | `welcome` | sends `welcome` |
//! | `fail` | returns an error |
//! | `panic` | panics |
//! | `retry N` | asks for the event again until its delivery N, then sends `delivered N` |
//! | `sleep MS` | takes that long, then sends `slept MS` |
//! | `hold GATE` | reports `held`, waits until the test opens the gate, sends `released GATE` |
//! | `join G`, `bind U` | awaits it, then sends `joined G`, `bound U` |
//! | `bind-by kick-old\|reject-new U` | binds by this policy, then sends what came of it |
//! | `leave G`, `unbind` | does it, then sends `left G`, `unbound` |
//! | `join-and-send G` | joins, sends `to group` to the group, then `direct` to the client |
//! | `bind-and-send U` | binds, sends `to uid` to the uid, then `direct` to the client |
//! | `mix G U T` | sends `direct T`, `group T`, `uid T`, `all T`, `client T`, `direct again T`, each to its target |
//! | `to-client C T`, `to-group G T`, `to-uid U T`, `to-all T` | sends `T` to them |
//! | `set K JSON`, `unset K` | changes the session |
//! | `session` | sends the session as JSON |
//! | `set-and-fail K JSON` | changes the session, then returns an error |
//! | `flood N SIZE` | sends N messages of SIZE bytes, numbered |
//! | `close CODE T` | sends `one` and `two`, then closes with the code, the reason `R` and the last message `T` |
//! | `destroy` | sends `one` and `two`, then destroys the connection |
//! | anything else, and bytes | sends it back |

use std::time::Duration;

use gatebus_tests::Entry;
use worker_sdk::{BindPolicy, Client, ClientId, Close, HandlerResult, Message, Retry};

use crate::{
    events::{Session, TestEvents},
    reports,
};

/// Does what the message says.
pub(crate) async fn obey(
    worker: &TestEvents,
    client: &mut Client<Session>,
    message: &Message,
) -> HandlerResult {
    let text = message.as_text().unwrap_or_default();
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    match verb {
        "quiet" => {}
        "whoami" => {
            let entry = reports::of(&worker.name, "whoami", client);
            client.send(serde_json::to_string(&entry)?)?;
        }
        "fail" => return Err("the client told me to fail".into()),
        "panic" => panic!("the client told me to panic"),
        "retry" => {
            if client.attempt() < rest.parse()? {
                return Err(Retry.into());
            }
            client.send(format!("delivered {}", client.attempt()))?;
        }
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(rest.parse()?)).await;
            client.send(format!("slept {rest}"))?;
        }
        "hold" => {
            reports::write(Entry {
                text: rest.to_owned(),
                ..reports::of(&worker.name, "held", client)
            });
            worker.gates.pass(rest).await;
            client.send(format!("released {rest}"))?;
        }
        "join" | "bind" | "leave" | "unbind" | "join-and-send" | "bind-and-send" => {
            belong(client, verb, rest).await?;
        }
        "bind-by" => {
            let policy = match words(rest)?.0 {
                "kick-old" => BindPolicy::KickOld,
                _ => BindPolicy::RejectNew,
            };
            let bound = client.bind_uid_with(words(rest)?.1, policy).await?;
            client.send(format!("{bound:?}, uid {:?}", client.uid()))?;
        }
        "mix" | "to-client" | "to-group" | "to-uid" | "to-all" => tell(client, verb, rest)?,
        "set" | "unset" | "session" | "set-and-fail" => remember(client, verb, rest)?,
        "flood" => {
            let (many, size) = words(rest)?;
            let (many, size): (usize, usize) = (many.parse()?, size.parse()?);
            for n in 0..many {
                client.send(format!("{n:0size$}"))?;
            }
        }
        "close" => {
            let (code, last) = words(rest)?;
            client.send("one")?;
            client.send("two")?;
            client.close_with(Close::new(code.parse()?, "R").message(last))?;
        }
        "destroy" => {
            client.send("one")?;
            client.send("two")?;
            client.destroy()?;
        }
        _ => client.send(message)?,
    }
    Ok(())
}

/// Groups and uids of the client itself.
async fn belong(client: &mut Client<Session>, verb: &str, name: &str) -> HandlerResult {
    match verb {
        "join" => {
            client.join(name).await?;
            client.send(format!("joined {name}"))?;
        }
        "leave" => {
            client.leave(name)?;
            client.send(format!("left {name}"))?;
        }
        "bind" => {
            client.bind_uid(name).await?;
            client.send(format!("bound {name}"))?;
        }
        "unbind" => {
            client.unbind_uid()?;
            client.send("unbound")?;
        }
        "join-and-send" => {
            client.join(name).await?;
            client.gateway().group(name).send("to group")?;
            client.send("direct")?;
        }
        _ => {
            client.bind_uid(name).await?;
            client.gateway().uid(name).send("to uid")?;
            client.send("direct")?;
        }
    }
    Ok(())
}

/// Messages for others.
fn tell(client: &Client<Session>, verb: &str, rest: &str) -> HandlerResult {
    let gateway = client.gateway();
    match verb {
        "mix" => {
            let (group, rest) = words(rest)?;
            let (uid, text) = words(rest)?;
            client.send(format!("direct {text}"))?;
            gateway.group(group).send(format!("group {text}"))?;
            gateway.uid(uid).send(format!("uid {text}"))?;
            gateway.all().send(format!("all {text}"))?;
            gateway.client(client.id()).send(format!("client {text}"))?;
            client.send(format!("direct again {text}"))?;
        }
        "to-all" => gateway.all().send(rest)?,
        _ => {
            let (whom, text) = words(rest)?;
            let target = match verb {
                "to-client" => gateway.client(whom.parse::<ClientId>()?),
                "to-group" => gateway.group(whom),
                _ => gateway.uid(whom),
            };
            target.send(text)?;
        }
    }
    Ok(())
}

/// The client's session.
fn remember(client: &mut Client<Session>, verb: &str, rest: &str) -> HandlerResult {
    match verb {
        "session" => client.send(serde_json::to_string(&client.session)?)?,
        "unset" => {
            client.session.remove(rest);
        }
        _ => {
            let (key, value) = words(rest)?;
            let value = serde_json::from_str(value)?;
            client.session.insert(key.to_owned(), value);
            if verb == "set-and-fail" {
                return Err("the client told me to fail".into());
            }
        }
    }
    Ok(())
}

fn words(text: &str) -> Result<(&str, &str), String> {
    text.split_once(' ')
        .ok_or_else(|| format!("two words are needed, not {text:?}"))
}
