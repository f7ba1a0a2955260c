//! The worker that the benchmark measures: one thread, service `bench`, and the load generator's
//! text protocol.
//!
//! | message | does |
//! | --- | --- |
//! | `e:<payload>` | sends the payload back |
//! | `j:<group>` | joins the group, then answers `ok` |
//! | `g:<group>:<payload>` | sends to the group |
//! | `b:<uid>` | binds the uid, then answers `ok` |
//! | `u:<uid>:<payload>` | sends to the uid |
//! | `a:<payload>` | sends to all |

use worker_sdk::{Client, Events, HandlerResult, Message, Worker};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Bench;

impl Events for Bench {
    type Session = ();

    async fn on_message(&self, client: &mut Client<()>, message: Message) -> HandlerResult {
        let text = message.as_text().ok_or("a binary message")?;
        let (verb, rest) = text.split_once(':').ok_or("a message without a verb")?;
        match verb {
            "e" => client.send(rest)?,
            "j" => {
                client.join(rest).await?;
                client.send("ok")?;
            }
            "b" => {
                client.bind_uid(rest).await?;
                client.send("ok")?;
            }
            "g" => {
                let (group, payload) = rest.split_once(':').ok_or("a group without a payload")?;
                client.gateway().group(group).send(payload)?;
            }
            "u" => {
                let (uid, payload) = rest.split_once(':').ok_or("a uid without a payload")?;
                client.gateway().uid(uid).send(payload)?;
            }
            "a" => client.gateway().all().send(rest)?,
            _ => return Err("an unknown verb".into()),
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .init();
    Worker::from_env("bench")?.run(Bench).await?;
    Ok(())
}
