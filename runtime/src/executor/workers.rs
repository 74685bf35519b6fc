//! Rows shared out among cores. Every row is computed as on one core, so no bit changes.

use crate::kernels::ROW_TILE;
use crate::memory::Scratch;
use crate::tensor::MatrixMut;
use core::ops::Range;

/// More than one core: a firmware's second core, or a thread pool.
///
/// An executor splits the rows of each stage in as many parts as its plan has workers and runs them
/// by [`Workers::join`]. A plan for one worker never calls it.
pub trait Workers: Sync {
    /// Runs both functions, at the same time where possible, and returns when both have ended.
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
/// A call joins fastest from inside the pool: `pool.run(|| executor.run(input, budget))`.
#[cfg(feature = "std")]
#[derive(Debug)]
pub struct ThreadPool(rayon::ThreadPool);

#[cfg(feature = "std")]
impl ThreadPool {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build().map(Self)
    }

    /// Threads of the pool.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on a thread of the pool and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

#[cfg(feature = "std")]
impl Workers for ThreadPool {
    fn join(&self, left: &mut (dyn FnMut() + Send), right: &mut (dyn FnMut() + Send)) {
        if self.0.current_thread_index().is_some() {
            rayon::join(left, right);
        } else {
            self.0.join(left, right);
        }
    }
}

/// How an executor holds its workers: without the feature there is nothing to call, and no call
/// through a pointer.
#[cfg(feature = "workers")]
pub(super) type Cores<'m> = &'m dyn Workers;
/// As above.
#[cfg(not(feature = "workers"))]
pub(super) type Cores<'m> = &'m ThisCore;

/// Rows that can be cut in two.
pub(super) trait Split: Send + Sized {
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
pub(super) fn for_row_tiles<T: Split>(
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
