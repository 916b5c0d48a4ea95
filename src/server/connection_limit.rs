//! The open connections of a server, and which of them are idle: at the limit, the connection that
//! has been idle longest is closed. So clients that hold connections and send nothing lock nobody
//! out.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The connections of one server. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Default)]
struct Shared {
    open: Mutex<Open>,
    /// A connection has become idle.
    idle: Notify,
}

#[derive(Default)]
struct Open {
    by_id: HashMap<u64, Connection>,
    /// Counts changes, and so orders them in time.
    changes: u64,
}

struct Connection {
    /// Closes the connection; `None` until its task has begun.
    end: Option<AbortHandle>,
    /// Requests under way, from head to the end of the answer: one or none in HTTP/1.
    requests: usize,
    /// The change by which it last became idle.
    since: u64,
}

/// An open connection, until dropped.
pub(super) struct Opened {
    connections: Connections,
    id: u64,
}

/// A request under way.
pub(super) struct Busy(Arc<Opened>);

impl Connections {
    /// A new connection, idle.
    pub fn join(&self) -> Arc<Opened> {
        let mut open = self.open();
        let change = open.next_change();
        open.by_id.insert(change, Connection { end: None, requests: 0, since: change });
        Arc::new(Opened { connections: self.clone(), id: change })
    }

    /// Registers how a connection is closed, if it is still open.
    pub fn ended_by(&self, id: u64, end: AbortHandle) {
        if let Some(connection) = self.open().by_id.get_mut(&id) {
            connection.end = Some(end);
        }
    }

    pub fn has_idle(&self) -> bool {
        self.open().idlest().is_some()
    }

    /// Waits until a connection becomes idle, or has since this was last called.
    pub async fn idle(&self) {
        self.0.idle.notified().await;
    }

    /// Closes the connection that has been idle longest.
    pub fn make_room(&self) {
        let mut open = self.open();
        let Some(id) = open.idlest() else { return };
        if let Some(Connection { end: Some(end), .. }) = open.by_id.remove(&id) {
            end.abort();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock()
    }
}

impl Open {
    fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    fn idlest(&self) -> Option<u64> {
        let idle = self.by_id.iter().filter(|(_, m)| m.requests == 0 && m.end.is_some());
        idle.min_by_key(|(_, connection)| connection.since).map(|(id, _)| *id)
    }
}

impl Opened {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A request has come.
    pub fn busy(self: &Arc<Self>) -> Busy {
        if let Some(connection) = self.connections.open().by_id.get_mut(&self.id) {
            connection.requests += 1;
        }
        Busy(Arc::clone(self))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.connections.open().by_id.remove(&self.id);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Opened { connections, id } = &*self.0;
        let mut open = connections.open();
        let change = open.next_change();
        if let Some(connection) = open.by_id.get_mut(id) {
            connection.requests -= 1;
            connection.since = change;
            connections.0.idle.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that never ends by itself.
    fn connect(connections: &Connections) -> (Arc<Opened>, tokio::task::JoinHandle<()>) {
        let opened = connections.join();
        let task = tokio::spawn(std::future::pending());
        connections.ended_by(opened.id(), task.abort_handle());
        (opened, task)
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_closed_and_no_busy_one() {
        let connections = Connections::default();
        assert!(!connections.has_idle());
        let (first, first_task) = connect(&connections);
        let (second, second_task) = connect(&connections);
        let (_third, third_task) = connect(&connections);
        let busy = second.busy();
        // Idle again, but for a shorter time than the third.
        drop(first.busy());
        connections.make_room();
        assert!(third_task.await.unwrap_err().is_cancelled());
        connections.make_room();
        assert!(first_task.await.unwrap_err().is_cancelled());
        assert!(!connections.has_idle());
        connections.make_room();
        connections.idle().await;
        let waiting = connections.idle();
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(busy);
        waiting.await;
        assert!(connections.has_idle());
        drop(second);
        assert!(!connections.has_idle());
        second_task.abort();
    }
}
