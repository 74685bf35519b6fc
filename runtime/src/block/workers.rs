//! Rows shared out among cores. Every row is computed as on one core, so no bit changes.

use crate::kernels::ROW_TILE;
use crate::memory::Scratch;
use crate::tensor::MatrixMut;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

/// More than one core: a firmware's second core, or a thread pool.
///
/// An executor splits the rows of each stage in as many parts as its plan has workers and runs them
/// by [`Workers::join`]. A plan for one worker never calls it.
pub trait Workers: Sync {
    /// Runs both functions, at the same time where possible, and returns when both have ended. A run
    /// of which one was not run is refused ([`RunError::NotRun`](crate::executor::RunError::NotRun)).
    fn join(&self, left: &mut (dyn FnMut() + Send), right: &mut (dyn FnMut() + Send));
}

/// This core alone: one function after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisCore;

impl Workers for ThisCore {
    fn join(&self, left: &mut (dyn FnMut() + Send), right: &mut (dyn FnMut() + Send)) {
        left();
        right();
    }
}

/// Threads of a pool (the `rayon` crate).
///
/// A call joins fastest from inside the pool: `pool.run(|| executor.run(input, budget))`. While that
/// runs, the other threads look for work without sleeping: the stages of an inference follow each other
/// faster than a thread wakes.
#[cfg(feature = "std")]
#[derive(Debug)]
pub struct ThreadPool {
    pool: rayon::ThreadPool,
    /// Whether a call keeps the threads awake; see [`run`](Self::run).
    awake: AtomicBool,
}

#[cfg(feature = "std")]
impl ThreadPool {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build()?;
        Ok(Self { pool, awake: AtomicBool::new(false) })
    }

    /// Threads of the pool.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on a thread of the pool and waits for it.
    ///
    /// Of calls at the same time, only one keeps the other threads awake.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if self.threads() < 2 || self.awake.swap(true, Ordering::AcqRel) {
            return self.pool.install(work);
        }
        let over = AtomicBool::new(false);
        let call = Call { over: &over, awake: &self.awake };
        self.pool.scope(|scope| {
            let home = self.pool.current_thread_index();
            // A broadcast is for each thread alone, so none waits for work in place of `work`.
            let over = &over;
            scope.spawn_broadcast(move |_, thread| {
                if Some(thread.index()) != home {
                    self.look_for_work(over);
                }
            });
            let result = work();
            drop(call);
            result
        })
    }

    /// Does what work there is until the call that keeps this thread awake is over.
    fn look_for_work(&self, over: &AtomicBool) {
        let mut idle = 0u32;
        while !over.load(Ordering::Acquire) {
            if let Some(rayon::Yield::Executed) = self.pool.yield_now() {
                idle = 0;
            } else {
                idle += 1;
                core::hint::spin_loop();
                if idle.is_multiple_of(IDLE_ROUNDS) {
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// Looks for work before a thread offers its core to others.
#[cfg(feature = "std")]
const IDLE_ROUNDS: u32 = 64;

/// A call that keeps threads awake until this is dropped, by a panic as well.
#[cfg(feature = "std")]
struct Call<'c> {
    over: &'c AtomicBool,
    awake: &'c AtomicBool,
}

#[cfg(feature = "std")]
impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.awake.store(false, Ordering::Release);
    }
}

#[cfg(feature = "std")]
impl Workers for ThreadPool {
    fn join(&self, left: &mut (dyn FnMut() + Send), right: &mut (dyn FnMut() + Send)) {
        if self.pool.current_thread_index().is_some() {
            rayon::join(left, right);
        } else {
            self.pool.join(left, right);
        }
    }
}

/// How an executor holds its workers: without the feature there is nothing to call, and no call
/// through a pointer.
#[cfg(feature = "workers")]
pub(crate) type Cores<'m> = &'m dyn Workers;
/// As above.
#[cfg(not(feature = "workers"))]
pub(crate) type Cores<'m> = &'m ThisCore;

/// The cores of one run, and whether they left work undone.
pub(crate) struct Watched<'w> {
    cores: Cores<'w>,
    undone: AtomicBool,
}

impl<'w> Watched<'w> {
    pub(crate) const fn new(cores: Cores<'w>) -> Self {
        Self { cores, undone: AtomicBool::new(false) }
    }

    #[cfg(feature = "workers")]
    pub(crate) const fn cores(&self) -> Cores<'_> {
        self
    }

    #[cfg(not(feature = "workers"))]
    pub(crate) const fn cores(&self) -> Cores<'_> {
        self.cores
    }

    /// Some function that was given to the cores did not run.
    pub(crate) fn left_work_undone(&self) -> bool {
        cfg!(feature = "workers") && self.undone.load(Ordering::Acquire)
    }
}

impl Workers for Watched<'_> {
    fn join(&self, left: &mut (dyn FnMut() + Send), right: &mut (dyn FnMut() + Send)) {
        let (mut left_ran, mut right_ran) = (false, false);
        let mut left = || {
            left();
            left_ran = true;
        };
        let mut right = || {
            right();
            right_ran = true;
        };
        self.cores.join(&mut left, &mut right);
        if !(left_ran && right_ran) {
            self.undone.store(true, Ordering::Release);
        }
    }
}

/// Rows that can be cut in two.
pub(crate) trait Split: Send + Sized {
    /// Rows left.
    fn rows(&self) -> usize;
    /// The first `at` rows, and the rest.
    fn split(self, at: usize) -> (Self, Self);
}

impl Split for &[u32] {
    fn rows(&self) -> usize {
        self.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_at_checked(at).unwrap_or((self, &[]))
    }
}

impl Split for Range<usize> {
    fn rows(&self) -> usize {
        self.len()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let middle = (self.start + at).min(self.end);
        (self.start..middle, middle..self.end)
    }
}

impl Split for MatrixMut<'_> {
    fn rows(&self) -> usize {
        MatrixMut::rows(self)
    }

    fn split(self, at: usize) -> (Self, Self) {
        self.split_rows(at)
    }
}

impl<T: Split> Split for Option<T> {
    fn rows(&self) -> usize {
        self.as_ref().map_or(0, T::rows)
    }

    fn split(self, at: usize) -> (Self, Self) {
        match self.map(|rows| rows.split(at)) {
            Some((left, right)) => (Some(left), Some(right)),
            None => (None, None),
        }
    }
}

/// The first member says how many rows there are.
impl<A: Split, B: Split> Split for (A, B) {
    fn rows(&self) -> usize {
        self.0.rows()
    }

    fn split(self, at: usize) -> (Self, Self) {
        let ((a, c), (b, d)) = (self.0.split(at), self.1.split(at));
        ((a, b), (c, d))
    }
}

/// Fewest rows worth a part of their own.
const FEWEST_ROWS: usize = 4;

/// Runs `work` once for each part of `rows`, every part with its own scratch.
pub(super) fn for_parts<T: Split>(
    workers: Cores<'_>,
    mut scratch: Scratch<'_>,
    rows: T,
    work: &(impl Fn(&mut Scratch<'_>, T) + Sync),
) {
    let parts = scratch.workers().min(rows.rows() / FEWEST_ROWS);
    if parts < 2 || !cfg!(feature = "workers") {
        return work(&mut scratch, rows);
    }
    let left_parts = parts / 2;
    let share = (rows.rows() * left_parts).div_ceil(parts).next_multiple_of(FEWEST_ROWS);
    let (left_scratch, right_scratch) = scratch.split(parts, left_parts);
    let (left_rows, right_rows) = rows.split(share);
    let mut left = Some((left_scratch, left_rows));
    let mut right = Some((right_scratch, right_rows));
    let run = |part: Option<(Scratch<'_>, T)>| {
        if let Some((scratch, rows)) = part {
            for_parts(workers, scratch, rows, work);
        }
    };
    workers.join(&mut || run(left.take()), &mut || run(right.take()));
}

/// Runs `work` for tiles of at most [`ROW_TILE`] rows, shared out among the workers.
pub(crate) fn for_row_tiles<T: Split>(
    workers: Cores<'_>,
    scratch: Scratch<'_>,
    rows: T,
    work: impl Fn(&mut Scratch<'_>, T) + Sync,
) {
    for_parts(workers, scratch, rows, &|scratch: &mut Scratch<'_>, mut rows: T| {
        while rows.rows() > 0 {
            let (tile, rest) = rows.split(ROW_TILE);
            work(scratch, tile);
            rows = rest;
        }
    });
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// 1 for each of `parts` parts, by joins.
    fn count(pool: &ThreadPool, parts: usize, done: &AtomicUsize) {
        if parts < 2 {
            done.fetch_add(parts, Ordering::Relaxed);
            return;
        }
        let half = parts / 2;
        pool.join(&mut || count(pool, half, done), &mut || count(pool, parts - half, done));
    }

    #[test]
    fn calls_at_the_same_time_and_after_a_panic_all_end() {
        let pool = ThreadPool::new(3).expect("three threads start");
        let done = AtomicUsize::new(0);
        let panicked = catch_unwind(AssertUnwindSafe(|| pool.run(|| panic!("on purpose"))));
        assert!(panicked.is_err());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.run(|| count(&pool, 16, &done));
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 4 * 50 * 16);
    }
}
