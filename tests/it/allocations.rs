//! Counts what the threads of one pool allocate, and the bytes that one thread holds.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNTER: Cell<Option<&'static Counter>> = const { Cell::new(None) };
    /// Bytes that this thread has allocated and not freed, and the most that there were.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// Of a block that grows by moving, old and new are there for a moment: counted as the new one alone.
fn hold(bytes: isize) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

/// Runs `task` on this thread; the most bytes that it held at a time beyond those held before.
pub fn peak_of_thread<R>(task: impl FnOnce() -> R) -> (R, usize) {
    let (before, _) = HELD.get();
    HELD.set((before, before));
    let result = task();
    (result, (HELD.get().1 - before) as usize)
}

#[derive(Default)]
struct Counter {
    is_counting: AtomicBool,
    allocations: AtomicUsize,
}

fn count() {
    // A thread that ends has no counter any more.
    let counter = COUNTER.try_with(Cell::get).ok().flatten();
    if let Some(counter) = counter.filter(|counter| counter.is_counting.load(SeqCst)) {
        counter.allocations.fetch_add(1, SeqCst);
    }
}

// SAFETY: every call is passed on to the system's allocator, unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        hold(layout.size() as isize);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        hold(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        hold(size as isize - layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        hold(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Runs `task` in a pool whose threads are counted between [`begin`] and [`end`].
pub fn of_pool<R: Send>(threads: usize, task: impl FnOnce() -> R + Send) -> R {
    let counter: &'static Counter = Box::leak(Box::default());
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(move |_| COUNTER.set(Some(counter)))
        .build()
        .unwrap();
    pool.install(task)
}

/// Begins to count, on a thread of the pool.
pub fn begin() {
    let counter = COUNTER.get().unwrap();
    counter.allocations.store(0, SeqCst);
    counter.is_counting.store(true, SeqCst);
}

/// Allocations of the pool's threads since [`begin`].
pub fn end() -> usize {
    let counter = COUNTER.get().unwrap();
    counter.is_counting.store(false, SeqCst);
    counter.allocations.load(SeqCst)
}

#[test]
fn an_allocation_on_any_thread_of_the_pool_is_counted() {
    let counted = of_pool(2, || {
        begin();
        rayon::broadcast(|_| drop(std::hint::black_box(vec![1, 2, 3])));
        end()
    });
    assert!(counted >= 2, "{counted}");
}
