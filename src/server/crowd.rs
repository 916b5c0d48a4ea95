//! Who holds connections, and who of them waits for nothing but a request: when no more fit, the
//! one that has been idle longest makes room. So clients that hold connections and say nothing
//! keep nobody out.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The connections of one server. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Shared>);

#[derive(Default)]
struct Shared {
    members: Mutex<Members>,
    /// One of them has become idle.
    idle: Notify,
}

#[derive(Default)]
struct Members {
    by_id: HashMap<u64, Member>,
    /// Counts changes, and so says which of two came first.
    turn: u64,
}

struct Member {
    /// What ends the connection; `None` until its task has begun.
    end: Option<AbortHandle>,
    /// Requests under way, from head to the end of the answer: one or none in HTTP/1.
    requests: usize,
    /// When it last became idle.
    since: u64,
}

/// A place in the crowd, left when dropped.
pub(super) struct Seat {
    crowd: Crowd,
    id: u64,
}

/// A request under way.
pub(super) struct Busy {
    crowd: Crowd,
    id: u64,
}

impl Crowd {
    /// A new connection, idle.
    pub fn join(&self) -> Seat {
        let mut members = self.members();
        let turn = members.next_turn();
        members.by_id.insert(turn, Member { end: None, requests: 0, since: turn });
        Seat { crowd: self.clone(), id: turn }
    }

    /// Says how a connection is ended, if it has not ended yet.
    pub fn ended_by(&self, id: u64, end: AbortHandle) {
        if let Some(member) = self.members().by_id.get_mut(&id) {
            member.end = Some(end);
        }
    }

    pub fn has_idle(&self) -> bool {
        self.members().idlest().is_some()
    }

    /// Waits until a connection becomes idle, or has since this was last called.
    pub async fn idle(&self) {
        self.0.idle.notified().await;
    }

    /// Ends the connection that has been idle longest.
    pub fn make_room(&self) {
        let mut members = self.members();
        let Some(id) = members.idlest() else { return };
        if let Some(Member { end: Some(end), .. }) = members.by_id.remove(&id) {
            end.abort();
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Whoever panicked left plain data behind.
        self.0.members.lock()
    }
}

impl Members {
    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    fn idlest(&self) -> Option<u64> {
        let idle = self.by_id.iter().filter(|(_, m)| m.requests == 0 && m.end.is_some());
        idle.min_by_key(|(_, member)| member.since).map(|(id, _)| *id)
    }
}

impl Seat {
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A request has come.
    pub fn busy(&self) -> Busy {
        if let Some(member) = self.crowd.members().by_id.get_mut(&self.id) {
            member.requests += 1;
        }
        Busy { crowd: self.crowd.clone(), id: self.id }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.members().by_id.remove(&self.id);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut members = self.crowd.members();
        let turn = members.next_turn();
        if let Some(member) = members.by_id.get_mut(&self.id) {
            member.requests -= 1;
            member.since = turn;
            self.crowd.0.idle.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that never ends by itself.
    fn connect(crowd: &Crowd) -> (Arc<Seat>, tokio::task::JoinHandle<()>) {
        let seat = Arc::new(crowd.join());
        let task = tokio::spawn(std::future::pending());
        crowd.ended_by(seat.id(), task.abort_handle());
        (seat, task)
    }

    #[tokio::test]
    async fn the_longest_idle_makes_room_and_nobody_busy() {
        let crowd = Crowd::default();
        assert!(!crowd.has_idle());
        let (first, first_task) = connect(&crowd);
        let (second, second_task) = connect(&crowd);
        let (_third, third_task) = connect(&crowd);
        let busy = second.busy();
        // Idle again, but for a shorter time than the third.
        drop(first.busy());
        crowd.make_room();
        assert!(third_task.await.unwrap_err().is_cancelled());
        crowd.make_room();
        assert!(first_task.await.unwrap_err().is_cancelled());
        assert!(!crowd.has_idle());
        crowd.make_room();
        crowd.idle().await;
        let waiting = crowd.idle();
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(busy);
        waiting.await;
        assert!(crowd.has_idle());
        drop(second);
        assert!(!crowd.has_idle());
        second_task.abort();
    }
}
