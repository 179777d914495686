//! The memory budget of a process: one pool of bytes, from which the parts whose memory grows with
//! load draw before they allocate. Who is refused sheds (an answer), evicts (the hot table), waits
//! (ingest, scoring, fills) or gives up with the reason (a point-in-time read); what has a fixed
//! size is taken off the limit before the pool is made (`forebay/settings/memory`).
//!
//! Each part has a most, so that none starves the others: the mosts of the parts that a client can
//! fill leave a quarter of the pool to ingest, always. Atomic counters alone: no lock, no clock. A
//! [`Reservation`] gives its bytes back when it is dropped. What is reserved is an estimate of what
//! the allocator will hand out, made from lengths that are known before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::{ErrorKind, PortError};
use crate::invariant;

/// Who draws from the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Decoded keys and their finished rows; evicts.
    HotTable,
    /// Answers to reads, from before they are built until they are sent; refused.
    Answers,
    /// Messages of clients, but small ones, on their way in until they are answered; refused.
    Requests,
    /// Features that models are asked with; asked again later.
    Scoring,
    /// Rows on their way to the archive, and epochs on their way into the shards; ingest waits.
    Ingest,
    /// Events that a training set or a verification reads; given up.
    PointInTime,
    /// Archived rows that are folded into a new view; the fill waits.
    Fills,
    /// Predictions and labels that monitors keep until they meet, and their windows; ingest waits
    /// a while.
    Monitors,
    /// Archive files that are joined; joined later.
    Upkeep,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::HotTable,
        Self::Answers,
        Self::Requests,
        Self::Scoring,
        Self::Ingest,
        Self::PointInTime,
        Self::Fills,
        Self::Monitors,
        Self::Upkeep,
    ];

    /// Its name in metrics and errors.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::HotTable => "hot_table",
            Self::Answers => "answers",
            Self::Requests => "requests",
            Self::Scoring => "scoring",
            Self::Ingest => "ingest",
            Self::PointInTime => "point_in_time",
            Self::Fills => "fills",
            Self::Monitors => "monitors",
            Self::Upkeep => "upkeep",
        }
    }

    /// The most that it may draw, parts of 32 of a shared pool. All but ingest together: 24.
    fn most_of_32(self) -> usize {
        match self {
            Self::HotTable => 8,
            Self::Answers => 6,
            Self::Requests | Self::Scoring => 2,
            Self::Ingest => 16,
            Self::PointInTime => 3,
            Self::Fills | Self::Monitors | Self::Upkeep => 1,
        }
    }
}

/// The pool has not got what a part asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the memory for {} is used up: {asked} bytes more are needed{}, {free} of {most} are free; ask for less at once, or \
     raise memory.limit_mib",
    part.label(),
    Beside(*held)
)]
pub struct OutOfMemory {
    /// Who asked.
    pub part: Part,
    /// For how much, bytes.
    pub asked: usize,
    /// What the reservation that asked held already, bytes.
    pub held: usize,
    /// What it could have got, bytes.
    pub free: usize,
    /// The most that the part may ever hold, bytes.
    pub most: usize,
}

impl OutOfMemory {
    /// Whether it is more than the part may hold even where nobody else holds anything: trying
    /// again is useless.
    #[must_use]
    pub fn never_fits(&self) -> bool {
        self.held.saturating_add(self.asked) > self.most
    }
}

/// What is held already, in words; nothing where that is nothing.
struct Beside(usize);

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            held => write!(f, " beside {held}"),
        }
    }
}

impl From<OutOfMemory> for PortError {
    fn from(error: OutOfMemory) -> Self {
        let words = "there is not enough memory now";
        Self::with_source(ErrorKind::ResourceExhausted, words, error)
    }
}

#[derive(Debug)]
struct Share {
    most_bytes: usize,
    used_bytes: AtomicUsize,
    refused: AtomicU64,
}

/// The pool.
#[derive(Debug)]
pub struct Budget {
    pool_bytes: usize,
    used_bytes: AtomicUsize,
    shares: [Share; Part::ALL.len()],
}

impl Budget {
    /// A pool that all parts share.
    #[must_use]
    pub fn shared(pool_bytes: usize) -> Arc<Self> {
        Self::new(pool_bytes, |part| pool_bytes / 32 * part.most_of_32())
    }

    /// A pool of which any part may take all: that of a command, which does one thing.
    #[must_use]
    pub fn whole(pool_bytes: usize) -> Arc<Self> {
        Self::new(pool_bytes, |_| pool_bytes)
    }

    fn new(pool_bytes: usize, most_bytes: impl Fn(Part) -> usize) -> Arc<Self> {
        let share = |part| Share {
            most_bytes: most_bytes(part),
            used_bytes: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        };
        Arc::new(Self {
            pool_bytes,
            used_bytes: AtomicUsize::new(0),
            shares: Part::ALL.map(share),
        })
    }

    /// What `part` holds, bytes.
    #[must_use]
    pub fn used_bytes(&self, part: Part) -> usize {
        self.share(part).used_bytes.load(Ordering::Relaxed)
    }

    /// The most that `part` may hold, bytes.
    #[must_use]
    pub fn most_bytes(&self, part: Part) -> usize {
        self.share(part).most_bytes
    }

    /// How often `part` was refused.
    #[must_use]
    pub fn refused(&self, part: Part) -> u64 {
        self.share(part).refused.load(Ordering::Relaxed)
    }

    fn share(&self, part: Part) -> &Share {
        // `ALL` is in the order of the enum.
        &self.shares[part as usize]
    }

    /// Take `bytes` for `part`, all or none.
    ///
    /// # Errors
    /// The part's most or the pool is used up.
    pub fn reserve(self: &Arc<Self>, part: Part, bytes: usize) -> Result<Reservation, OutOfMemory> {
        let mut reservation = self.empty(part);
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// A reservation of nothing, to grow.
    #[must_use]
    pub fn empty(self: &Arc<Self>, part: Part) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            part,
            bytes: 0,
        }
    }

    fn take(&self, part: Part, asked: usize) -> Result<(), OutOfMemory> {
        let share = self.share(part);
        let taken = raise(&share.used_bytes, asked, share.most_bytes).and_then(|()| {
            raise(&self.used_bytes, asked, self.pool_bytes).inspect_err(|_| {
                share.used_bytes.fetch_sub(asked, Ordering::Relaxed);
            })
        });
        taken.map_err(|free| {
            share.refused.fetch_add(1, Ordering::Relaxed);
            OutOfMemory {
                part,
                asked,
                held: 0,
                free,
                most: share.most_bytes,
            }
        })
    }

    /// Take what there is of `asked` bytes.
    fn take_up_to(&self, part: Part, asked: usize) -> usize {
        let share = self.share(part);
        let of_share = raise_up_to(&share.used_bytes, asked, share.most_bytes);
        let taken = raise_up_to(&self.used_bytes, of_share, self.pool_bytes);
        share
            .used_bytes
            .fetch_sub(of_share - taken, Ordering::Relaxed);
        taken
    }

    fn give_back(&self, part: Part, bytes: usize) {
        let share = self.share(part);
        let held = share.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        invariant!(
            ReservationsGivenBackOnce,
            held >= bytes,
            "{bytes} of {held} bytes of {}",
            part.label()
        );
    }
}

/// Add `more` to `used` unless that passes `most`; the error is what was free.
fn raise(used: &AtomicUsize, more: usize, most: usize) -> Result<(), usize> {
    let grown = |used: usize| used.checked_add(more).filter(|sum| *sum <= most);
    let raised = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
    raised.map(|_| ()).map_err(|used| most.saturating_sub(used))
}

/// Add as much of `more` to `used` as `most` allows; returns what was added.
fn raise_up_to(used: &AtomicUsize, more: usize, most: usize) -> usize {
    let mut added = 0;
    let grown = |used: usize| {
        added = more.min(most.saturating_sub(used));
        Some(used + added)
    };
    // Never refused: at worst it adds nothing.
    let _before = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
    added
}

/// Bytes of the pool that a part holds, until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    part: Part,
    bytes: usize,
}

impl Reservation {
    /// What is held, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Take `more` bytes, all or none.
    ///
    /// # Errors
    /// The part's most or the pool is used up; what was held stays held.
    pub fn grow(&mut self, more: usize) -> Result<(), OutOfMemory> {
        if more > 0 {
            let held = self.bytes;
            let taken = self.budget.take(self.part, more);
            taken.map_err(|full| OutOfMemory { held, ..full })?;
            self.bytes += more;
        }
        Ok(())
    }

    /// Hold `bytes` from now on, but no more than half of the part's most: what is larger than that
    /// must go through too, and who holds it needs the other half for what it makes of it.
    ///
    /// # Errors
    /// The part's most or the pool is used up; what was held stays held.
    pub fn hold(&mut self, bytes: usize) -> Result<(), OutOfMemory> {
        let charged = bytes.min(self.budget.most_bytes(self.part) / 2);
        self.grow(charged.saturating_sub(self.bytes))?;
        self.shrink_to(charged);
        Ok(())
    }

    /// Hold `bytes` from now on, or as much of them as there is. Returns what is held.
    pub fn resize_up_to(&mut self, bytes: usize) -> usize {
        if self.bytes < bytes {
            self.bytes += self.budget.take_up_to(self.part, bytes - self.bytes);
        }
        self.shrink_to(bytes);
        self.bytes
    }

    /// Give back what is held above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.bytes > bytes {
            self.budget.give_back(self.part, self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests run in real time")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POOL: usize = 1_600;

    #[test]
    fn what_is_refused_says_who_asked_for_what_and_which_setting_helps() {
        let budget = Budget::shared(POOL);
        let held = budget.reserve(Part::Answers, 250).expect("below 6 of 32");
        let error = budget.reserve(Part::Answers, 51).expect_err("above");
        assert_eq!(
            (error.asked, error.free, error.most),
            (51, 50, POOL / 32 * 6)
        );
        for word in ["answers", "51 bytes", "50 of 300", "memory.limit_mib"] {
            assert!(error.to_string().contains(word), "{error}");
        }
        let kind = PortError::from(error).kind();
        assert!(kind == ErrorKind::ResourceExhausted && kind.is_retriable());
        assert_eq!(budget.refused(Part::Answers), 1);
        drop(held);
        assert!(budget.reserve(Part::Answers, 300).is_ok());
    }

    #[test]
    fn what_never_fits_is_told_from_what_fits_when_others_have_given_back() {
        let budget = Budget::shared(POOL);
        let most = budget.most_bytes(Part::Answers);
        let never = |asked| {
            let refused = budget.reserve(Part::Answers, asked);
            refused.expect_err("used up").never_fits()
        };
        assert!(never(most + 1) && never(usize::MAX));
        let other = budget.reserve(Part::Answers, 1).expect("free");
        assert!(!never(most));
        drop(other);
        // In several steps it is the sum that counts.
        let mut steps = budget.reserve(Part::Answers, 200).expect("free");
        let refused = steps.grow(most - 199).expect_err("above the most");
        assert!(refused.never_fits(), "{refused}");
        assert!(refused.to_string().contains("beside 200"), "{refused}");
        let _other = budget.reserve(Part::Answers, 25).expect("free");
        assert!(!steps.grow(most - 200).expect_err("now").never_fits());
    }

    #[test]
    fn whatever_clients_hold_a_quarter_is_left_to_ingest() {
        let budget = Budget::shared(POOL);
        let mut held = Vec::new();
        for part in Part::ALL.into_iter().filter(|p| *p != Part::Ingest) {
            held.push(
                budget
                    .reserve(part, budget.most_bytes(part))
                    .expect("its most"),
            );
        }
        assert!(budget.reserve(Part::Ingest, POOL / 4).is_ok());
        assert!(budget.reserve(Part::Ingest, POOL / 4 + 1).is_err());
        drop(held);
        assert!(budget.reserve(Part::Ingest, POOL / 2).is_ok());
    }

    #[test]
    fn a_command_may_use_all_of_its_pool_for_one_thing() {
        let budget = Budget::whole(POOL);
        assert!(budget.reserve(Part::PointInTime, POOL).is_ok());
        assert!(budget.reserve(Part::PointInTime, POOL + 1).is_err());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Reserve(Part, usize),
        Grow(usize, usize),
        ResizeUpTo(usize, usize),
        ShrinkTo(usize, usize),
        Drop(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let part = prop::sample::select(Part::ALL.to_vec());
        let (which, bytes) = (0..8_usize, 0..POOL);
        prop_oneof![
            (part, bytes.clone()).prop_map(|(part, bytes)| Act::Reserve(part, bytes)),
            (which.clone(), bytes.clone()).prop_map(|(at, bytes)| Act::Grow(at, bytes)),
            (which.clone(), bytes.clone()).prop_map(|(at, bytes)| Act::ResizeUpTo(at, bytes)),
            (which.clone(), bytes).prop_map(|(at, bytes)| Act::ShrinkTo(at, bytes)),
            which.prop_map(Act::Drop),
        ]
    }

    proptest! {
        /// Whatever is asked for: the sum of what is held is what the counters say, never above a
        /// part's most nor above the pool, and all comes back.
        #[test]
        fn the_sum_of_the_reservations_stays_within_the_pool(acts in prop::collection::vec(act(), 1..64)) {
            let budget = Budget::shared(POOL);
            let mut held: Vec<Reservation> = Vec::new();
            for act in acts {
                match act {
                    Act::Reserve(part, bytes) => held.extend(budget.reserve(part, bytes).ok()),
                    Act::Grow(at, bytes) => {
                        if let Some(one) = held.get_mut(at) {
                            let before = one.bytes();
                            let grown = one.grow(bytes).is_ok();
                            prop_assert_eq!(one.bytes(), if grown { before + bytes } else { before });
                        }
                    }
                    Act::ResizeUpTo(at, bytes) => {
                        if let Some(one) = held.get_mut(at) {
                            prop_assert!(one.resize_up_to(bytes) <= bytes);
                        }
                    }
                    Act::ShrinkTo(at, bytes) => {
                        if let Some(one) = held.get_mut(at) {
                            one.shrink_to(bytes);
                            prop_assert!(one.bytes() <= bytes);
                        }
                    }
                    Act::Drop(at) if at < held.len() => drop(held.swap_remove(at)),
                    Act::Drop(_) => {}
                }
                let mut sum = 0;
                for part in Part::ALL {
                    let of_part = held.iter().filter(|one| one.part == part);
                    let bytes: usize = of_part.map(Reservation::bytes).sum();
                    prop_assert_eq!(bytes, budget.used_bytes(part));
                    prop_assert!(bytes <= budget.most_bytes(part));
                    sum += bytes;
                }
                prop_assert_eq!(sum, budget.used_bytes.load(Ordering::Relaxed));
                prop_assert!(sum <= POOL);
            }
            drop(held);
            prop_assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 0);
        }
    }

    #[test]
    fn threads_that_draw_at_once_never_hold_more_than_the_pool() {
        let budget = Budget::whole(1_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in (1..400).cycle().take(20_000) {
                        let one = budget.reserve(Part::Answers, bytes);
                        let used = budget.used_bytes.load(Ordering::Relaxed);
                        assert!(used <= 1_000, "{used}");
                        drop(one);
                    }
                });
            }
        });
        assert_eq!(budget.used_bytes.load(Ordering::Relaxed), 0);
    }
}
