//! Mailboxes: a bounded queue of commands to one shard from any thread, with one-shot replies.
//! Owns neither the commands nor how long a caller waits for an answer.
//! Invariants: a command is taken by the shard, given back to the sender, or dropped when the mailbox closes; none stays
//! in a closed mailbox, so whoever waits for its reply learns of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use super::doorbell::Doorbell;
use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, Queue, fence};

/// Makes a mailbox for at most `capacity` commands (at least one).
pub fn mailbox<C>(capacity: usize) -> (MailboxSender<C>, Mailbox<C>) {
    let shared = Arc::new(Shared {
        commands: Queue::new(capacity.max(1)),
        closed: AtomicBool::new(false),
        senders: AtomicUsize::new(1),
        bell: Doorbell::new(),
    });
    (MailboxSender { shared: shared.clone() }, Mailbox { shared })
}

/// Puts commands into a mailbox, from any thread.
pub struct MailboxSender<C> {
    shared: Arc<Shared<C>>,
}

impl<C> MailboxSender<C> {
    /// Puts a command in.
    ///
    /// # Errors
    /// When the mailbox is full or closed; the command comes back.
    pub fn send(&self, command: C) -> Result<(), Rejected<C>> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(Rejected::Closed(command));
        }
        self.shared.commands.push(command).map_err(Rejected::Full)?;
        fence(Ordering::SeqCst);
        if self.shared.closed.load(Ordering::Relaxed) {
            // It closed in between and may have been emptied before the command got in.
            self.shared.empty();
            return Ok(());
        }
        self.shared.bell.ring();
        Ok(())
    }

    /// Commands that wait.
    pub fn len(&self) -> usize {
        self.shared.commands.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.shared.commands.is_empty()
    }
}

impl<C> Clone for MailboxSender<C> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        MailboxSender { shared: self.shared.clone() }
    }
}

impl<C> Drop for MailboxSender<C> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.bell.ring();
        }
    }
}

/// Why a mailbox did not take a command, which it gives back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Rejected<C> {
    /// The shard has ended.
    Closed(C),
    /// As many commands wait as the mailbox holds.
    Full(C),
}

impl<C> Rejected<C> {
    /// The command.
    pub fn into_inner(self) -> C {
        match self {
            Rejected::Closed(command) | Rejected::Full(command) => command,
        }
    }
}

impl<C> fmt::Debug for Rejected<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejected::Closed(_) => "Closed",
            Rejected::Full(_) => "Full",
        })
    }
}

/// Takes commands out, on the shard.
pub struct Mailbox<C> {
    shared: Arc<Shared<C>>,
}

impl<C> Mailbox<C> {
    /// Takes the oldest command out, if there is one.
    pub fn try_recv(&mut self) -> Option<C> {
        self.shared.commands.pop()
    }

    /// Waits for a command; `None` once all senders are gone and nothing is left.
    ///
    /// # Cancel safety
    /// Dropping the future takes no command out.
    pub async fn recv(&mut self) -> Option<C> {
        let shared = &*self.shared;
        shared
            .bell
            .wait(|| {
                // Read before the queue: the last sender puts its commands in before it goes.
                let alone = shared.senders.load(Ordering::Acquire) == 0;
                match shared.commands.pop() {
                    Some(command) => Some(Some(command)),
                    None => alone.then_some(None),
                }
            })
            .await
    }
}

impl<C> Drop for Mailbox<C> {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.shared.empty();
    }
}

struct Shared<C> {
    commands: Queue<C>,
    closed: AtomicBool,
    senders: AtomicUsize,
    bell: Doorbell,
}

impl<C> Shared<C> {
    fn empty(&self) {
        while self.commands.pop().is_some() {}
    }
}

/// Makes the two ends of a reply, to put one of them into a command.
pub fn reply<T>() -> (ReplyTo<T>, Reply<T>) {
    let (to, from) = oneshot::channel();
    (ReplyTo(to), Reply(from))
}

/// Where a shard puts its answer.
#[derive(Debug)]
pub struct ReplyTo<T>(oneshot::Sender<T>);

impl<T> ReplyTo<T> {
    /// Answers.
    ///
    /// # Errors
    /// When nobody waits any more; the answer comes back.
    pub fn send(self, answer: T) -> Result<(), T> {
        self.0.send(answer)
    }

    /// Whether nobody waits any more, so that the work can be spared.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_canceled()
    }

    /// Waits until nobody waits for the answer any more.
    pub async fn abandoned(&mut self) {
        self.0.cancellation().await;
    }
}

/// Waits for a shard's answer, on any executor; `None` when the command was dropped unanswered.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Reply<T>(oneshot::Receiver<T>);

impl<T> Future for Reply<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn commands_come_in_order_and_end_with_the_senders() {
        let (sender, mut mailbox) = mailbox(4);
        let shard = std::thread::spawn(move || {
            block_on(async {
                let mut seen = Vec::new();
                while let Some((number, to)) = mailbox.recv().await {
                    seen.push(number);
                    let to: ReplyTo<u32> = to;
                    to.send(number * 2).unwrap();
                }
                seen
            })
        });
        for number in 0..100 {
            let (to, reply) = reply();
            sender.send((number, to)).unwrap();
            assert_eq!(block_on(reply), Some(number * 2));
        }
        drop(sender);
        assert_eq!(shard.join().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_mailbox_gives_the_command_back() {
        let (sender, mut mailbox) = mailbox(2);
        assert!(sender.send(1).is_ok() && sender.send(2).is_ok());
        assert!(sender.send(3) == Err(Rejected::Full(3)));
        assert_eq!(mailbox.try_recv(), Some(1));
        assert!(sender.send(3).is_ok());
        drop(mailbox);
        assert_eq!(sender.send(4).unwrap_err().into_inner(), 4);
        assert!(sender.is_empty());
    }

    #[test]
    fn a_reply_to_a_closed_mailbox_resolves() {
        let (sender, mailbox) = mailbox(2);
        let (to, reply) = reply::<u32>();
        sender.send(to).unwrap();
        drop(mailbox);
        assert_eq!(block_on(reply), None);
    }

    #[test]
    fn an_abandoned_reply_says_so() {
        let (to, reply) = reply::<u32>();
        assert!(!to.is_abandoned());
        drop(reply);
        assert!(to.is_abandoned());
        assert_eq!(to.send(1), Err(1));
    }
}
