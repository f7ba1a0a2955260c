//! The context of a running handler, and with it the order of what it issues.
//!
//! Commands for a handler's own client wait here to ride in the ack. They may do so only as long
//! as nothing could overtake them. So they are published at once, before anything else, when
//!
//! - the handler's future returns `Pending`: it awaits something, and others get to run;
//! - the handler issues anything through a [`Gateway`], whichever handle that is:
//!   hence the thread-local, which is set while the handler is being polled;
//! - they become too many.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
};

use wire::{ClientId, Command, Request};

use crate::{
    Error, Gateway,
    outbox::{Letter, OVERHEAD, command_weight},
};

/// So many bytes may wait for an ack; what is above goes out directly.
const BUFFER: usize = 64 * 1024;

thread_local! {
    static RUNNING: RefCell<Option<Arc<Context>>> = const { RefCell::new(None) };
}

/// One batch's context.
pub(crate) struct Context {
    pub(crate) client: ClientId,
    pub(crate) gateway: Gateway,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    commands: Vec<Command>,
    bytes: usize,
    /// Where the commands of the running event begin.
    mark: usize,
    /// Nothing waits any more until the next event: commands go out as they come.
    direct: bool,
}

impl Context {
    pub(crate) fn new(client: ClientId, gateway: Gateway) -> Arc<Self> {
        Arc::new(Self {
            client,
            gateway,
            buffer: Mutex::default(),
        })
    }

    /// Issues a command for this very client.
    pub(crate) fn issue(&self, command: Command) -> Result<(), Error> {
        let link = self.gateway.link();
        let weight = command_weight(&command);
        link.check_len(weight)?;
        let mut buffer = self.lock();
        if buffer.bytes + weight > BUFFER {
            self.publish(&mut buffer);
        }
        if buffer.direct {
            drop(buffer);
            return link.publish(
                link.subjects.client(self.client),
                wire::encode(&Request::command(command)),
            );
        }
        link.outbox.check(buffer.bytes + weight + OVERHEAD)?;
        buffer.bytes += weight;
        buffer.commands.push(command);
        Ok(())
    }

    /// From here on commands go out as they come; those that wait go first.
    pub(crate) fn go_direct(&self) {
        let mut buffer = self.lock();
        if !buffer.direct {
            self.publish(&mut buffer);
        }
    }

    /// An event begins: what it issues may wait for the ack.
    pub(crate) fn begin(&self) {
        let mut buffer = self.lock();
        buffer.direct = false;
        buffer.mark = buffer.commands.len();
    }

    /// Throws away what the running event issued and is not published.
    pub(crate) fn discard(&self) {
        let mut buffer = self.lock();
        let mark = buffer.mark;
        buffer.commands.truncate(mark);
    }

    /// What rides in the ack.
    pub(crate) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut self.lock().commands)
    }

    fn publish(&self, buffer: &mut Buffer) {
        buffer.direct = true;
        (buffer.mark, buffer.bytes) = (0, 0);
        let link = self.gateway.link();
        for command in buffer.commands.drain(..) {
            link.outbox.publish_promised(Letter {
                subject: link.subjects.client(self.client),
                reply: None,
                payload: wire::encode(&Request::command(command)),
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// If a handler is running here, what it issued so far goes out before what comes now.
pub(crate) fn overtaking() {
    RUNNING.with_borrow(|running| {
        if let Some(context) = running {
            context.go_direct();
        }
    });
}

/// Runs a handler in its context; `Err` says what it panicked with.
pub(crate) async fn run<F: Future>(
    context: &Arc<Context>,
    mut handler: Pin<&mut F>,
) -> Result<F::Output, String> {
    std::future::poll_fn(|cx| {
        let _entered = Entered::new(context.clone());
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                context.go_direct();
                Poll::Pending
            }
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(said(&*panic))),
        }
    })
    .await
}

/// What a panic said, if it said something.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

/// The context is this thread's until this is dropped.
struct Entered {
    before: Option<Arc<Context>>,
}

impl Entered {
    fn new(context: Arc<Context>) -> Self {
        Self {
            before: RUNNING.replace(Some(context)),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        RUNNING.set(self.before.take());
    }
}

#[cfg(test)]
mod tests;
