//! How much memory a piece of code asks for.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Counts what each thread asks for.
struct Tally;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static TALLY: Tally = Tally;

// SAFETY: everything is passed on to the system's allocator as it came.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Tally {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(at, layout, size) }
    }
}

fn count(bytes: usize) {
    // Fails only while the thread ends.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + bytes));
}

/// What came out, and how many bytes of memory were asked for on the way.
pub(crate) fn asked<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED.get();
    let out = f();
    (out, ASKED.get() - before)
}
